"""The catalog: which attachment is which bytes, and where they lie.

It is also the log: routing and replication follow its rows, written in the transaction that stores an image.
"""

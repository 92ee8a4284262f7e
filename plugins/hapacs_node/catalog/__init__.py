"""The catalog: the digest of each attachment and the place of its bytes in the archive.

It is also the outbox: routing and replication read rows that are written in the transaction that stores an image.
"""

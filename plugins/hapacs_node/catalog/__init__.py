"""The catalog: the digest of each attachment and the place of its bytes in the archive.

It is also the outbox: images that rules send elsewhere have an event, written in the transaction that stores them.
"""

"""Copies of images at the second site, which keeps them as its own.

The first site sends each image unchanged (`worker`), and asks the second one what its archive has (`confirm`). Only
that answer ends a task, never the status of a transfer.
"""

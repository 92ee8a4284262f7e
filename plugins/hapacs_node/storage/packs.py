"""A pack: several images in one object of the archive.

It is an ordinary tar archive without compression. Each member's name is the digest of its content. So any tar program
can list, check and unpack it without our database.
"""

import tarfile
from collections.abc import Mapping

_BLOCK = tarfile.BLOCKSIZE


def pack(contents: Mapping[str, bytes]) -> tuple[bytes, dict[str, int]]:
    """Put images into a pack.

    Parameters
    ----------
    contents : mapping
        Bytes by their digest.

    Returns
    -------
    tuple
        The pack, and the offset of the bytes of each digest in it.
    """
    parts: list[bytes] = []
    offsets: dict[str, int] = {}
    at = 0
    for digest, content in contents.items():
        member = tarfile.TarInfo(digest)
        member.size = len(content)
        member.mode = 0o444
        # Larger members than USTAR can have (8 GiB) are never packed.
        header = member.tobuf(tarfile.USTAR_FORMAT)
        padding = bytes(-len(content) % _BLOCK)
        offsets[digest] = at + len(header)
        parts += [header, content, padding]
        at += len(header) + len(content) + len(padding)
    return b"".join([*parts, bytes(2 * _BLOCK)]), offsets

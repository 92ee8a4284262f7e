"""A pack: several images in one object of the archive.

It is an ordinary tar archive without compression. Each member's name is the digest of its content. So any tar program
can list, check and unpack it without our database.
"""

import re
import tarfile
from collections.abc import Iterator, Mapping
from typing import NamedTuple

_BLOCK = tarfile.BLOCKSIZE
_END = bytes(2 * _BLOCK)
_NAME = re.compile(r"[0-9a-f]{64}")


class Member(NamedTuple):
    """An image in a pack: its digest by its name, and the place of its bytes.

    `digest` is None for bytes that are no image of ours: headers that can't be read, or a member with another name.
    """

    digest: str | None
    offset: int
    length: int


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
    return b"".join([*parts, _END]), offsets


def members(content: bytes) -> Iterator[Member]:
    """List what is in a pack, also in a damaged one: after a header that can't be read, the next one is looked for.

    Parameters
    ----------
    content : bytes
        The pack, or what is left of it. Whether the bytes of an image are whole, only their digest shows.

    Yields
    ------
    Member
        In the order of the pack. The part that can't be read is one member without digest.
    """
    at, lost = 0, None
    while at < len(content) and not (at + len(_END) == len(content) and content.endswith(_END)):
        header = _header(content[at : at + _BLOCK])
        ours = header is not None and header.isreg() and _NAME.fullmatch(header.name) is not None
        if header is None or (lost is not None and not ours):
            lost = at if lost is None else lost
            at += _BLOCK
            continue
        if lost is not None:
            yield Member(None, lost, at - lost)
            lost = None
        yield Member(header.name if ours else None, at + _BLOCK, header.size)
        at += _BLOCK + -(-header.size // _BLOCK) * _BLOCK
    if lost is not None or content[at:] != _END:
        begin = at if lost is None else lost
        yield Member(None, begin, max(len(content) - begin, 0))


def _header(block: bytes) -> tarfile.TarInfo | None:
    try:
        return tarfile.TarInfo.frombuf(block, tarfile.ENCODING, "strict")
    except (tarfile.HeaderError, ValueError):
        return None

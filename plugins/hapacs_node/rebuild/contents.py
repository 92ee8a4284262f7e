"""Reads an object of the archive, and finds the images in it."""

import re
from dataclasses import dataclass, field

from hapacs_node.catalog.rebuild import Place
from hapacs_node.errors import CasConflictError, CasDamagedError, CasMissingError, DasError
from hapacs_node.rebuild.progress import Kind, Problem
from hapacs_node.storage import names
from hapacs_node.storage.cas import Cas
from hapacs_node.storage.client import Listed
from hapacs_node.storage.das import Das
from hapacs_node.storage.packs import members

_ALONE = re.compile(rf"{names.OBJECTS}/([0-9a-f]{{2}})/([0-9a-f]{{2}})/(\1\2[0-9a-f]{{60}})(?:\.[0-9a-f-]{{36}})?")
_PACK = re.compile(rf"{names.PACKS}/[0-9-]{{10}}/[0-9a-f-]{{36}}\.tar")


@dataclass
class Contents:
    """What an object has: its images in the order in which they were archived, and what is wrong with it.

    `rescued` are the digests of images that are whole only on this node's DAS.
    """

    object: Listed
    images: list[tuple[Place, bytes]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    rescued: set[str] = field(default_factory=set)

    def wrong(self, at: int, kind: Kind, digest: str | None, detail: str) -> None:
        """Note a problem."""
        self.problems.append(Problem(self.object.key, at, kind, digest, detail))


@dataclass(frozen=True)
class Source:
    """Reads objects of the archive.

    Parameters
    ----------
    cas : Cas
        The archive.
    das : Das
        This node's online copies, for images whose archive copy is damaged.
    """

    cas: Cas
    das: Das

    def read(self, listed: Listed) -> Contents:
        """Read an object, and check its images by their digests.

        Raises
        ------
        CasUnavailableError
            When the archive does not answer now.
        """
        found = Contents(listed)
        alone, pack = _ALONE.fullmatch(listed.key), _PACK.fullmatch(listed.key)
        if alone is None and pack is None:
            found.wrong(0, Kind.FOREIGN, None, "no image of this site has such a key")
        elif not listed.size:
            found.wrong(0, Kind.DAMAGED, alone and alone[3], "the object is empty")
        elif alone is not None:
            self._image(found, Place(alone[3], listed.key, 0, listed.size), None)
        else:
            self._pack(found)
        return found

    def _pack(self, found: Contents) -> None:
        listed = found.object
        try:
            content = self.cas.part(listed.key, 0, listed.size)
        except (CasMissingError, CasDamagedError) as error:
            found.wrong(0, Kind.UNREADABLE, None, str(error))
            return
        for digest, offset, length in members(content):
            if digest is None:
                found.wrong(
                    offset, Kind.DAMAGED, None, f"{length} bytes of the pack are no image, or its end is missing"
                )
            else:
                self._image(found, Place(digest, listed.key, offset, length), content[offset : offset + length])

    def _image(self, found: Contents, place: Place, content: bytes | None) -> None:
        if content is None or names.digest_of(content) != place.digest:
            content = self._again(found, place)
        if content:
            found.images.append((place, content))

    def _again(self, found: Contents, place: Place) -> bytes | None:
        """Read an image on its own, by all gateways; when no copy there is whole, from this node's DAS."""
        try:
            return self.cas.get(place.key, place.digest, place.offset, place.length)
        except CasConflictError as error:
            found.wrong(place.offset, Kind.DAMAGED, place.digest, str(error))
        except (CasMissingError, CasDamagedError) as error:
            found.wrong(place.offset, Kind.UNREADABLE, place.digest, str(error))
        try:
            content = self.das.read(place.digest, place.length, used=False)
        except DasError:
            return None
        found.rescued.add(place.digest)
        return content

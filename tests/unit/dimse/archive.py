"""A fake of catalog and storage for the query/retrieve title."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any
from uuid import UUID, uuid4

from pydicom import Dataset, dcmread, dcmwrite
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from hapacs_node.catalog.objects import StoredObject
from hapacs_node.catalog.selection import Selected, Selection
from hapacs_node.errors import CasUnavailableError, CatalogUnavailableError
from hapacs_node.query.criteria import Counts, Found, Search
from tests.support.images import ct

CT, SR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.88.33"


@dataclass
class Archive:
    """What the catalog lists and the storage has.

    Attributes
    ----------
    transcodes : frozenset of str
        Transfer syntaxes that images can be transcoded to.
    """

    images: list[Selected] = field(default_factory=list)
    contents: dict[UUID, bytes] = field(default_factory=dict)
    found: list[Found] = field(default_factory=list)
    searches: list[Search] = field(default_factory=list)
    down: bool = False
    transcodes: frozenset[str] = frozenset({ExplicitVRLittleEndian, ImplicitVRLittleEndian})

    def add(self, study: str, sop_class: str = CT, syntax: str = ExplicitVRLittleEndian, **values: object) -> Selected:
        """Add an image of one's own series. Whatever its transfer syntax, its data set is explicit little endian."""
        content, uuid = ct(StudyInstanceUID=study, SOPClassUID=sop_class, **values), uuid4()
        made = dcmread(BytesIO(content))
        row = StoredObject(uuid, "ab" * 32, len(content), 1, "cas", "key", 0, len(content), "pacs1")
        one = Selected(study, str(made.SeriesInstanceUID), str(made.SOPInstanceUID), sop_class, syntax, row)
        self.images.append(one)
        self.contents[uuid] = content
        return one

    def lose(self, image: Selected) -> None:
        """Lose the bytes of an image."""
        assert image.object is not None
        del self.contents[image.object.uuid]

    def select(self, wanted: Selection) -> list[Selected]:
        self._ask()
        levels = ((wanted.studies, "study"), (wanted.series, "series"), (wanted.instances, "sop"))
        return [one for one in self.images if all(not uids or getattr(one, name) in uids for uids, name in levels)]

    def search(self, asked: Search) -> list[Found]:
        self._ask()
        self.searches.append(asked)
        return self.found[: asked.limit]

    def read_all(self, rows: Sequence[StoredObject]) -> Iterator[bytes]:
        def read(row: StoredObject) -> bytes:
            if row.uuid not in self.contents:
                raise CasUnavailableError("no gateway answers")
            return self.contents[row.uuid]

        return map(read, rows)

    def transcode(self, content: bytes, syntax: str) -> bytes:
        if syntax not in self.transcodes:
            raise RuntimeError("Orthanc can't transcode it")
        file, implicit = BytesIO(), syntax == ImplicitVRLittleEndian
        made = dcmread(BytesIO(content))
        made.file_meta.TransferSyntaxUID = UID(syntax)
        dcmwrite(file, made, implicit_vr=implicit, little_endian=True, enforce_file_format=True)
        return file.getvalue()

    def _ask(self) -> None:
        if self.down:
            raise CatalogUnavailableError("no leader")


def study(uid: str, **shown: object) -> Found:
    """Make a study that a search finds."""
    made = Dataset()
    made.StudyInstanceUID = uid
    for keyword, value in shown.items():
        setattr(made, keyword, value)
    document: dict[str, Any] = made.to_json_dict()
    return Found(uid, None, None, document, Counts())

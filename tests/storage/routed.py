"""What tests of routing share: images, how they are stored, rules, and the service step by step."""

import os
from collections.abc import Callable
from io import BytesIO
from typing import Any
from uuid import UUID, uuid4

from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

from hapacs_node.catalog import outbox, ruleset
from hapacs_node.catalog.tasks import Lane, Task
from hapacs_node.node import Node
from hapacs_node.routing.model import Routing
from hapacs_node.routing.service import Service
from tests.storage.servers import Postgres, wait_until
from tests.support.storescp import StoreScp

NAMES = (
    "site", "task", "event", "destination", "ruleset", "unmatched", "intervention", "gathering",
    "completion", "outbound_commitment", "outbound_committed", "replication",
)  # fmt: skip
TABLES = ", ".join(f"hapacs.{name}" for name in NAMES)
ALL_CT: dict[str, Any] = {
    "name": "all-ct",
    "when": [{"attribute": "Modality", "equals": "CT"}],
    "destinations": ["peer"],
}


def image(modality: str = "CT") -> tuple[str, bytes]:
    """Make a small image with pixels that no codec understands."""
    dataset, meta = Dataset(), FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID = MRImageStorage if modality == "MR" else CTImageStorage
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
    dataset.file_meta = meta
    dataset.Modality, dataset.PatientID, dataset.AccessionNumber = modality, "P1", "A7"
    dataset.StudyInstanceUID = dataset.SeriesInstanceUID = generate_uid()
    dataset.PatientName = "TEST"
    dataset.PixelData = os.urandom(2000)
    dataset["PixelData"].VR = "OW"
    output = BytesIO()
    dataset.save_as(output, enforce_file_format=True)
    return str(dataset.SOPInstanceUID), output.getvalue()


def store(node: Node, postgres: Postgres, content: bytes, calling: str = "CT1", *, caller: str | None = None) -> UUID:
    """Store an image as Orthanc does: the storage area, then the index."""
    uuid = uuid4()
    node.storage.create(str(uuid), 1, content, caller)
    dataset = dcmread(BytesIO(content))
    number = uuid.int % 10**12
    tags = (
        (1, None, (32, 13), dataset.StudyInstanceUID),
        (2, number + 1, (32, 14), dataset.SeriesInstanceUID),
        (3, number + 2, (8, 24), dataset.SOPInstanceUID),
    )
    with postgres.connect() as connection:
        for level, parent, tag, value in tags:
            connection.execute(
                "insert into resources values (%s, %s, %s, %s)", [number + level, level, f"r{number + level}", parent]
            )
            connection.execute("insert into dicomidentifiers values (%s, %s, %s, %s)", [number + level, *tag, value])
        connection.execute("insert into metadata values (%s, 3, %s, 0)", [number + 3, calling])
        connection.execute(
            "insert into attachedfiles values (%s, 1, %s, %s, %s, 1, '', '')",
            [number + 3, str(uuid), len(content), len(content)],
        )
    return uuid


def load(node: Node, scp: StoreScp, *rules: dict[str, Any], **destination: Any) -> None:
    """Load rules with a storescp as the only destination."""
    peer = {"ae_title": "PEER", "host": "127.0.0.1", "port": scp.port, "timeout_s": 20}
    load_peer(node, peer | destination, *rules)


def load_peer(node: Node, destination: dict[str, Any], *rules: dict[str, Any]) -> None:
    """Load rules with a destination of any kind."""
    document = {"destinations": {"peer": destination}, "rules": rules}
    Routing.model_validate(document)
    node.database.run(lambda c: ruleset.load(c, document, [Lane("route", "peer")], active=True, by="test"))


def run_until(service: Service, condition: Callable[[], bool], what: str, timeout_s: float = 150) -> None:
    def stepped() -> bool:
        service.step()
        return condition()

    wait_until(stepped, what, timeout_s)


def counts(node: Node) -> dict[str, int]:
    (status,) = node.database.run(lambda c: outbox.status(c, "route"))
    return {**status.tasks, "confirmed": status.confirmed}


def asked(content: bytes, sop: str = "") -> Task:
    """Return a task of an image, or of another one of its series."""
    dataset = dcmread(BytesIO(content))
    study, series = str(dataset.StudyInstanceUID), str(dataset.SeriesInstanceUID)
    return Task(1, UUID(int=1), study, series, sop or str(dataset.SOPInstanceUID), "1.2", "1.2.3", 100, "all", None, 1)

"""Times of searches over 100,000 made studies, on a PostgreSQL of this machine.

Run it by hand: ``.venv/bin/python -m tests.storage.search_bench``.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

from hapacs_node import settings
from hapacs_node.catalog import schema
from hapacs_node.catalog.catalog import Catalog
from hapacs_node.catalog.database import Database
from hapacs_node.metrics import Metrics
from hapacs_node.query import header, web
from hapacs_node.query.header import Header
from hapacs_node.query.qido import Request
from tests.storage.conftest import INDEX
from tests.storage.servers import PASSWORD, Postgres

STUDIES, BATCH, REPEATS = 100_000, 500, 7
_FAMILIES = ("Müller", "Иванов", "王", "Dvořák", "Smith", "Nguyễn", "山田", "Rossi")
SEARCHES = {
    "first page": "studies?limit=101&offset=0",
    "second page": "studies?limit=101&offset=101",
    "by patient's ID": "studies?PatientID=P77777",
    "by patient's name, from its beginning": "studies?PatientName=Smith%5EA77*&limit=101",
    "by patient's name, inside of it": "studies?PatientName=*777*&limit=101",
    "by accession number": "studies?AccessionNumber=A4711",
    "of one day and modality": "studies?StudyDate=20240315&ModalitiesInStudy=MR&limit=101",
    "series of a study": "studies/1.2.500/series",
    "instances of a study": "studies/1.2.500/instances?includefield=all",
    "nothing": "studies?PatientID=NOBODY",
}


def made(number: int) -> Header:
    """Describe the image of one made study."""
    day, month, year = 1 + number % 28, 1 + number // 28 % 12, 2015 + number % 11
    return header.of_index(
        f"1.2.{number}",
        f"1.2.{number}.1",
        f"1.2.{number}.1.1",
        {
            "00080020": f"{year}{month:02}{day:02}",
            "00080030": f"{number % 24:02}3015",
            "00080050": f"A{number}",
            "00080060": "MR" if number % 3 else "CT",
            "00080016": "1.2.840.10008.5.1.4.1.1.2",
            "00081030": "ABDOMEN WITH CONTRAST",
            "00100010": f"{_FAMILIES[number % len(_FAMILIES)]}^A{number}",
            "00100020": f"P{number}",
            "00100030": "19600101",
            "00100040": "O",
            "00280010": "512",
            "00280011": "512",
        },
    )


def fill(catalog: Catalog, server: Postgres, numbers: Sequence[int]) -> None:
    """Add made studies to the query tables and to Orthanc's."""
    uuids = [UUID(int=number + 1) for number in numbers]
    with server.connect() as connection:
        connection.execute(
            "insert into attachedfiles (id, filetype, uuid) select 1, 1, unnest(%s::text[])", [list(map(str, uuids))]
        )
        connection.execute(
            'insert into hapacs.object (uuid, digest, size, type, store, key, "offset", length, node) '
            "select u, sha256(u::text::bytea), 1, 1, 'cas', 'k', 0, 1, 'n' from unnest(%s::uuid[]) u",
            [uuids],
        )
    catalog.describe([(uuid, made(number)) for uuid, number in zip(uuids, numbers, strict=True)])


def main() -> None:
    """Fill the tables, and print the median and the longest time of each search."""
    with tempfile.TemporaryDirectory(prefix="hapacs-search-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        server = Postgres(directory)
        server.start()
        try:
            (directory / "password").write_text(PASSWORD)
            host = {
                "hosts": ["127.0.0.1"],
                "port": server.port,
                "password_file": str(directory / "password"),
                "statement_timeout_s": 300,
                "deadline_s": 600,
            }
            with server.connect() as connection:
                connection.execute(INDEX)
            with Database(settings.Database.model_validate(host), Metrics()) as database:
                schema.migrate(database)
                schema.index_attachments(database)
                catalog = Catalog(database)
                began = time.monotonic()
                for first in range(0, STUDIES, BATCH):
                    fill(catalog, server, range(first, first + BATCH))
                sys.stdout.write(f"{STUDIES} studies filled in {time.monotonic() - began:.0f} s" + "\n")
                with server.connect() as connection:
                    connection.autocommit = True
                    connection.execute("vacuum analyze")
                for what, target in SEARCHES.items():
                    measure(catalog, what, target)
        finally:
            server.kill()


def measure(catalog: Catalog, what: str, target: str) -> None:
    """Print the times of one search, from the request to the answer in JSON."""
    times = []
    for _ in range(REPEATS):
        began = time.monotonic()
        request = Request.of(f"/dicom-web/{target}")
        assert request is not None
        reply = web.reply(request, catalog.search, "pacs.example", "HAPACS_QR")
        times.append(time.monotonic() - began)
    sys.stdout.write(
        f"{what}: {reply.answers} answers, median {statistics.median(times):.3f} s, longest {max(times):.3f} s" + "\n"
    )


if __name__ == "__main__":
    main()

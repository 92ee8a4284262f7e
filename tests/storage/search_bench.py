"""Times of searches over 100,000 made studies, on a PostgreSQL of this machine.

Run it by hand: ``.venv/bin/python -m tests.storage.search_bench``.
"""

import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from hapacs_node import settings
from hapacs_node.catalog import schema
from hapacs_node.catalog.catalog import Catalog
from hapacs_node.catalog.database import Database
from hapacs_node.metrics import Metrics
from hapacs_node.query import header, matching, web
from hapacs_node.query.qido import Request
from tests.storage.conftest import INDEX
from tests.storage.servers import PASSWORD, Postgres
from tests.support.images import ct

STUDIES, REPEATS = 100_000, 7
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


# One study with one image for each number; each has a date, a name and UIDs of its own.
_FILL = """
insert into hapacs.study
select made.uid, id, acc, day, '083015000000', shown || jsonb_build_object(
    '0020000D', jsonb_build_object('vr', 'UI', 'Value', jsonb_build_array(made.uid)),
    '00100020', jsonb_build_object('vr', 'LO', 'Value', jsonb_build_array(id)),
    '00080020', jsonb_build_object('vr', 'DA', 'Value', jsonb_build_array(day))),
    found || jsonb_build_object('00100020', jsonb_build_array(id), '00080020', jsonb_build_array(day))
from hapacs.study t, made where t.uid = 'template';
insert into hapacs.study_name select uid, name from made;
insert into hapacs.series
select made.uid, made.uid || '.1', made.modality, shown, found from hapacs.series r, made where r.study = 'template';
insert into hapacs.instance
select made.uuid, made.uid, made.uid || '.1', made.uid || '.1.1', sop_class, 1, described_as, shown, found
from hapacs.instance i, made where i.study = 'template';
insert into attachedfiles (id, filetype, uuid) select 1, 1, uuid::text from made;
"""
_MADE = """
create table made as select '1.2.' || n as uid, 'P' || n as id, 'A' || n as acc, gen_random_uuid() as uuid,
    case when n % 3 = 0 then 'CT' else 'MR' end as modality, (array{families})[1 + n % {count}] || '^a' || n as name,
    to_char(date '2015-01-01' + n % 4000, 'YYYYMMDD') as day
from generate_series(1, {studies}) n
"""
_TEMPLATE = ct(
    StudyInstanceUID="1.1", SeriesInstanceUID="1.1.1", StudyDescription="ABDOMEN WITH CONTRAST", Manufacturer="Made"
)


def fill(catalog: Catalog, server: Postgres) -> None:
    """Add made studies to the query tables and to Orthanc's."""
    described = header.of(_TEMPLATE, "ISO_IR 100")
    assert described is not None
    uuid = uuid4()
    with server.connect() as connection:
        connection.execute(
            'insert into hapacs.object (uuid, digest, size, type, store, key, "offset", length, node) '
            "values (%s, sha256('x'), 1, 1, 'cas', 'k', 0, 1, 'n')",
            [uuid],
        )
        connection.commit()
        catalog.describe([(uuid, replace(described, study="template"))])
        families = [matching.folded(name) for name in _FAMILIES]
        connection.execute(_MADE.format(families=families, count=len(families), studies=STUDIES))
        connection.execute(_FILL)
        connection.commit()


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
                fill(catalog, server)
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

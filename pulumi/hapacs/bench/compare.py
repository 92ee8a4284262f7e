"""How long `hapacs-node replication compare` takes for two sites with made rows, in a database of this machine.

Both sites are databases of one server, so that the figure has the work of both; the link between sites is left out, and
what would go over it is counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import psycopg

from hapacs.bench import scratch
from hapacs_node.catalog import schema
from hapacs_node.catalog.database import Database
from hapacs_node.metrics import Metrics
from hapacs_node.replication.compare import PAUSE_S, Comparison
from hapacs_node.replication.ranges import QUESTION, Here, There
from hapacs_node.settings import Database as DatabaseSettings

MOST_S = 300
"""What a million rows may take."""
SECOND = "second"
_DIFFERENT = 30

# The part of Orthanc's tables that is compared (orthanc-postgresql 5.0).
INDEX = """
create table attachedfiles (id bigint, filetype int, uuid varchar(64) not null, compressedsize bigint,
    uncompressedsize bigint, compressiontype int, uncompressedhash varchar(40), compressedhash varchar(40));
"""

# UIDs of no order, 200 images in a study.
FILL = """
create table made as
select n, gen_random_uuid() as uuid, sha256(n::text::bytea) as digest, 500000 + n % 1000 as size,
    '1.2.826.0.1.' || n / 200 as study, '2.25.' || ('x' || substr(md5(n::text), 1, 15))::bit(60)::bigint as sop
from generate_series(1, {count}) as n order by md5(n::text);
insert into hapacs.object (uuid, digest, size, type, store, key, "offset", length, node)
select uuid, digest, size, 1, 'cas', 'sha256/' || encode(digest, 'hex'), 0, size, 'pacs1' from made;
insert into hapacs.instance (uuid, study, series, sop, sop_class, number, described_as, shown, found)
select uuid, study, study || '.1', sop, '1.2.840.10008.5.1.4.1.1.2', n, 'made', '{{}}', '{{}}' from made;
insert into attachedfiles select n, 1, uuid::text, size, size, 1, '', '' from made;
insert into attachedfiles select n, 3, gen_random_uuid()::text, 1000, 1000, 1, '', '' from made;
create index on attachedfiles (uuid);
analyze;
"""

# At one site an image is missing, has other bytes, or is there in addition.
_SPOIL = """
delete from hapacs.instance where uuid in (select uuid from made where n % {share} = 1);
update hapacs.object set size = size + 1 where uuid in (select uuid from made where n % {share} = 2);
update hapacs.instance set sop = sop || '.9' where uuid in (select uuid from made where n % {share} = 3);
"""


def run(rows: int, on_step: Callable[[str], None]) -> dict[str, Any]:
    """Fill two databases, and compare them: when they are equal, and with some differences.

    Parameters
    ----------
    rows
        Images of each site.
    on_step
        Takes what is done now.

    Returns
    -------
    dict
        Times in seconds, bytes over the wire, and what was found.

    Raises
    ------
    HapacsError
        When PostgreSQL does not run here.
    """
    with scratch.postgres() as server:
        on_step(f"{rows:,} rows are made for each of two sites")
        with server.connect() as connection:
            connection.execute(f"create database {SECOND}")
        settings = [DatabaseSettings.model_validate(server.settings(name)) for name in ("pacs", SECOND)]
        with Database(settings[0], Metrics()) as here, Database(settings[1], Metrics()) as there:
            for database, name in ((here, "pacs"), (there, SECOND)):
                with server.connect(name) as connection:
                    connection.execute(INDEX)
                    schema.migrate(database)
                    fill(connection, rows)
            on_step("the sites are compared")
            equal = _measure(here, there)
            on_step("the sites are compared with some differences")
            with server.connect(SECOND) as connection:
                connection.execute(_SPOIL.format(share=max(10, rows // (_DIFFERENT // 3))))
            different = _measure(here, there)
    within = not equal["differences"] and max(equal["compare_s"], different["compare_s"]) <= MOST_S
    return {"rows": rows, "equal": equal, "different": different, "most_s": MOST_S, "within": within}


def fill(connection: psycopg.Connection[Any], rows: int) -> None:
    """Make the rows of a site."""
    connection.execute(FILL.format(count=rows))


def _measure(here: Database, there: Database) -> dict[str, Any]:
    counted = {"requests": 0, "bytes": 0}

    def post(content: bytes) -> bytes:
        answer = Here(there).answer(QUESTION.validate_json(content)).model_dump_json().encode()
        counted["requests"] += 1
        counted["bytes"] += len(content) + len(answer)
        return answer

    began = time.monotonic()
    found = Comparison(here, There(post), pause_s=PAUSE_S).run()
    return {
        "compare_s": round(time.monotonic() - began, 1),
        "compared": found.compared,
        "differences": found.differences,
        **counted,
    }

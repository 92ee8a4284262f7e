"""How long `hapacs-node reconcile` takes, and how much memory, with made rows in a database of this machine.

The archive's listing is made too, from the rows, so the figures are those of the comparison and of the database.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from hapacs.bench import scratch
from hapacs.errors import HapacsError
from hapacs_node.catalog import schema
from hapacs_node.catalog.database import Database
from hapacs_node.metrics import Metrics
from hapacs_node.settings import Database as DatabaseSettings

MOST_S, MOST_BYTES = 300, 300_000_000
"""What a million rows may take."""
_SIZE, _IN_A_PACK = 500_000, 4

# The part of Orthanc's tables that is compared (orthanc-postgresql 5.0).
_INDEX = """
create table resources (internalid bigint primary key, resourcetype int not null, publicid varchar(64) not null,
    parentid bigint);
create table attachedfiles (id bigint, filetype int, uuid varchar(64) not null, compressedsize bigint,
    uncompressedsize bigint, compressiontype int, uncompressedhash varchar(40), compressedhash varchar(40));
"""

# Every second image is alone in its object, the others share packs, a thousand packs a day.
_FILL = """
create table made as
select n, gen_random_uuid() as uuid, sha256(n::text::bytea) as digest, encode(sha256(n::text::bytea), 'hex') as hex
from generate_series(1, {count}) as n;
insert into hapacs.object (uuid, digest, size, type, store, key, "offset", length, node, stored_at)
select uuid, digest, {size}, 1, 'cas',
    case when n % 2 = 0 then 'sha256/' || substr(hex, 1, 2) || '/' || substr(hex, 3, 2) || '/' || hex
    else 'packs/' || date '2024-01-01' + n / {of_day} || '/' || md5((n / {images})::text)::uuid || '.tar' end,
    case when n % 2 = 0 then 0 else (n % {images}) * {size} end, {size}, 'pacs1', now() - interval '1 day'
from made;
insert into resources select n, 3, left(hex, 44), null from made;
insert into attachedfiles select n, 1, uuid::text, {size}, {size}, 1, '', '' from made;
insert into attachedfiles select n, 3, gen_random_uuid()::text, 1000, 1000, 1, '', '' from made;
create index on resources (publicid);
create index on attachedfiles (uuid);
analyze;
"""


def run(rows: int, on_step: Callable[[str], None]) -> dict[str, Any]:
    """Fill a database, and compare.

    Parameters
    ----------
    rows
        Of the catalog.
    on_step
        Takes what is done now.

    Returns
    -------
    dict
        Times in seconds, memory in bytes, what was compared, and the number of findings, which has to be 0.

    Raises
    ------
    HapacsError
        When PostgreSQL does not run here, or the comparison fails.
    """
    with scratch.postgres() as server:
        on_step(f"{rows:,} rows are made")
        began = time.monotonic()
        document = server.settings()
        with Database(DatabaseSettings.model_validate(document), Metrics()) as database:
            with server.connect() as connection:
                connection.execute(_INDEX)
            schema.migrate(database)
        with server.connect() as connection:
            made = _FILL.format(count=rows, size=_SIZE, images=2 * _IN_A_PACK, of_day=2000 * _IN_A_PACK)
            connection.execute(made)
        filled_s = time.monotonic() - began
        on_step("all places are compared")
        # In a process of its own, as on a node, so that its memory is that of the comparison.
        command = [sys.executable, "-m", "hapacs.bench.node_reconcile", json.dumps(document), str(server.directory)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise HapacsError("The comparison failed.", done.stderr.strip()[-500:])
        measured: dict[str, Any] = json.loads(done.stdout)
    within = measured["compare_s"] <= MOST_S and measured["most_bytes"] <= MOST_BYTES
    return {"rows": rows, "fill_s": filled_s, **measured, "most_s": MOST_S, "within": within}

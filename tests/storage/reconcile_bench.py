"""Time and memory of a reconciliation of made rows: PostgreSQL of this machine, and a made listing of the archive.

Run it by hand: ``.venv/bin/python -m tests.storage.reconcile_bench 1000000``.
"""

import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import batched
from pathlib import Path

from hapacs_node.catalog import schema
from hapacs_node.catalog.database import Database
from hapacs_node.integrity.reconcile import Reconciliation
from hapacs_node.metrics import Metrics
from hapacs_node.settings import Das as DasSettings
from hapacs_node.settings import Database as DatabaseSettings
from hapacs_node.storage import names
from hapacs_node.storage.cas import Cas, Client, Listed
from hapacs_node.storage.das import Das
from hapacs_node.storage.gateways import Gateway, Gateways
from hapacs_node.storage.shelves import Shelves
from tests.storage.conftest import INDEX
from tests.storage.servers import PASSWORD, Postgres
from tests.unit.node.fakes import FakeBucket, FakeClient

_SIZE, _IN_A_PACK = 500_000, 4

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


class Made(FakeClient):
    """A gateway that lists what the catalog names."""

    def __init__(self, server: Postgres) -> None:
        super().__init__(FakeBucket())
        self.server = server

    def pages(self, folder: str, after: str | None) -> Iterator[Sequence[Listed]]:
        at = datetime.now(UTC) - timedelta(days=1)
        with self.server.connect() as connection, connection.transaction(), connection.cursor("listing") as cursor:
            cursor.execute(
                'select key, max("offset" + length) from hapacs.object where key like %s and key collate "C" > %s '
                'group by key order by key collate "C"',
                [f"{folder}/%", after or ""],
            )
            for page in batched(cursor, 1000):
                yield [Listed(str(key), int(str(size)), at) for key, size in page]


def main() -> None:
    """Fill, compare, and print time and memory."""
    count = int(sys.argv[1])
    with tempfile.TemporaryDirectory(prefix="hapacs-reconcile-") as temporary:
        directory = Path(temporary)
        directory.chmod(0o755)
        server = Postgres(directory)
        try:
            server.start()
            _measure(server, directory, count)
        finally:
            server.kill()


def _measure(server: Postgres, directory: Path, count: int) -> None:
    (directory / "password").write_text(PASSWORD)
    document = {
        "hosts": ["127.0.0.1"],
        "port": server.port,
        "password_file": str(directory / "password"),
        "statement_timeout_s": 300,
        "deadline_s": 600,
    }
    metrics = Metrics()
    with Database(DatabaseSettings.model_validate(document), metrics) as database:
        with server.connect() as connection:
            connection.execute(INDEX)
        schema.migrate(database)
        with server.connect() as connection:
            connection.execute(_FILL.format(count=count, size=_SIZE, images=2 * _IN_A_PACK, of_day=2000 * _IN_A_PACK))
        members: list[Gateway[Client]] = [Gateway("made", Made(server))]
        cas = Cas(Gateways(members, metrics), 60, metrics)
        (directory / "das" / names.OBJECTS).mkdir(parents=True)
        das = Das(DasSettings(root=directory / "das", minimum_free_bytes=0, must_be_mount=False), metrics)
        began, filled_kb = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        reconciliation = Reconciliation(database, cas, Shelves(das), datetime.now(UTC))
        for name in ("of_index", "of_archive", "of_das"):
            start, cpu = time.monotonic(), time.process_time()
            found = sum(1 for _ in getattr(reconciliation, name)())
            sys.stdout.write(
                f"{name}: {time.monotonic() - start:.1f} s, of them {time.process_time() - cpu:.1f} s of this process, "
                f"{found} findings\n"
            )
        used = resource.getrusage(resource.RUSAGE_SELF)
        sys.stdout.write(
            f"{count} images: {time.monotonic() - began:.1f} s, at most {used.ru_maxrss / 1000:.0f} MB "
            f"({filled_kb / 1000:.0f} MB before); compared {reconciliation.counts}\n"
        )


if __name__ == "__main__":
    main()

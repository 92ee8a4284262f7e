"""The process that `hapacs bench reconcile` measures: it compares made rows, and prints time and memory as JSON.

Arguments: the settings of the database as JSON, and a directory for an empty DAS.
"""

import json
import re
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from itertools import batched
from pathlib import Path
from typing import Any, NoReturn

import psycopg

from hapacs_node.catalog.database import Database
from hapacs_node.integrity.reconcile import Reconciliation
from hapacs_node.metrics import Metrics
from hapacs_node.settings import Das as DasSettings
from hapacs_node.settings import Database as DatabaseSettings
from hapacs_node.storage import names
from hapacs_node.storage.cas import Cas
from hapacs_node.storage.client import Client, Listed, Lock, Recorded
from hapacs_node.storage.das import Das
from hapacs_node.storage.gateways import Gateway, Gateways
from hapacs_node.storage.shelves import Shelves

_PAGE = 1000
_KEYS = """
select key, max("offset" + length) from hapacs.object where key like %s and key collate "C" > %s
group by key order by key collate "C"
"""


class Made:
    """A gateway that lists what the catalog names. Nothing else is asked, because all places agree."""

    def __init__(self, settings: DatabaseSettings) -> None:
        self._settings = settings

    def pages(self, folder: str, after: str | None) -> Iterator[Sequence[Listed]]:
        """List the objects below a folder, in a transaction of its own."""
        at = datetime.now(UTC) - timedelta(days=1)
        known = self._settings
        with (
            psycopg.connect(
                host=known.hosts[0],
                port=known.port,
                user=known.user,
                password=known.password().get_secret_value(),
                dbname=known.name,
            ) as connection,
            connection.cursor("listing") as cursor,
        ):
            cursor.execute(_KEYS, [f"{folder}/%", after or ""])
            for page in batched(cursor, _PAGE):
                yield [Listed(str(key), int(size), at) for key, size in page]

    def create(self, key: str, content: bytes, digest: str) -> NoReturn:
        """Refuse: nothing is stored."""
        raise NotImplementedError

    def put(self, key: str, content: bytes) -> NoReturn:
        """Refuse: nothing is stored."""
        raise NotImplementedError

    def head(self, key: str) -> Recorded:
        """Answer as for an object that is missing."""
        raise FileNotFoundError(key)

    def get(self, key: str, offset: int, length: int) -> bytes:  # noqa: ARG002 - of the protocol
        """Answer as for an object that is missing."""
        raise FileNotFoundError(key)

    def lock(self, key: str) -> Lock:
        """Answer as for an object that is missing."""
        raise FileNotFoundError(key)

    def probe(self) -> None:
        """Answer."""


def _most_bytes() -> int:
    """Return the largest memory of this program. What `getrusage` says begins with that of the process before it."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.findall(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)[0]) * 1024


def measure(document: dict[str, Any], directory: Path) -> dict[str, Any]:
    """Compare all places, and return times in seconds, memory in bytes, and how much was compared and found."""
    settings, metrics = DatabaseSettings.model_validate(document), Metrics()
    with Database(settings, metrics) as database:
        members: list[Gateway[Client]] = [Gateway("made", Made(settings))]
        cas = Cas(Gateways(members, metrics), 60, metrics)
        (directory / "das" / names.OBJECTS).mkdir(parents=True)
        das = Das(DasSettings(root=directory / "das", minimum_free_bytes=0, must_be_mount=False), metrics)
        reconciliation = Reconciliation(database, cas, Shelves(das), datetime.now(UTC))
        passes: dict[str, float] = {}
        found = 0
        for place in ("index", "archive", "das"):
            began = time.monotonic()
            found += sum(1 for _ in getattr(reconciliation, f"of_{place}")())
            passes[place] = time.monotonic() - began
    return {
        "compare_s": sum(passes.values()),
        "passes_s": passes,
        "processor_s": time.process_time(),
        "most_bytes": _most_bytes(),
        "compared": asdict(reconciliation.counts),
        "findings": found,
    }


def main() -> None:
    """Measure what the command line says."""
    json.dump(measure(json.loads(sys.argv[1]), Path(sys.argv[2])), sys.stdout)


if __name__ == "__main__":
    main()

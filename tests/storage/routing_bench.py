"""`hapacs bench routing` on this machine alone: one node's service and a PostgreSQL. All images are on the DAS.

Run it by hand: ``.venv/bin/python -m tests.storage.routing_bench INSTANCES [ROWS]``.
"""

import hashlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from hapacs.bench import backlog
from hapacs.load.images import Image, Study
from hapacs.load.made import part_10
from hapacs_node import settings
from hapacs_node.catalog import ruleset, schema
from hapacs_node.catalog.catalog import Catalog
from hapacs_node.catalog.database import Database
from hapacs_node.catalog.objects import StoredObject
from hapacs_node.catalog.tasks import Lane
from hapacs_node.metrics import Metrics
from hapacs_node.storage.das import Das
from tests.storage.conftest import INDEX
from tests.storage.servers import PASSWORD, Postgres, free_ports

_INDEXES = """
create index on resources (parentid); create index on dicomidentifiers (id); create index on attachedfiles (uuid);
create index on attachedfiles (id); create index on metadata (id)
"""


@dataclass
class Local:
    """One node without Orthanc and archive."""

    catalog: Catalog
    das: Das
    postgres: Postgres
    host: str = "127.0.0.1"
    _number: int = 0

    def load(self, document: Mapping[str, Any]) -> None:
        lanes = [Lane("route", name) for name in document["destinations"]]
        self.catalog.database.run(lambda c: ruleset.load(c, dict(document), lanes, active=True, by="bench"))

    def rows(self, sql: str) -> list[str]:
        with self.postgres.connect() as connection:
            cursor = connection.execute(sql.encode())
            while cursor.nextset():
                pass
            return ["|".join(map(str, row)) for row in cursor] if cursor.description else []

    def store(self, studies: Sequence[Study]) -> list[str]:
        for study in studies:
            rows = [self._store(image) for image in study.images]
            self.catalog.add_all(rows)
            self._index(study, [row.uuid for row in rows])
        return []

    def _store(self, image: Image) -> StoredObject:
        content = part_10((image.sop_class, image.sop_instance, image.transfer_syntax), image.dataset)
        digest = hashlib.sha256(content).hexdigest()
        self.das.write(digest, content, durable=False)
        size = len(content)
        return StoredObject(uuid4(), digest, size, 1, "cas", f"sha256/{digest}", 0, size, "pacs1")

    def _index(self, study: Study, uuids: Sequence[UUID]) -> None:
        first = self._number
        self._number += 2 + len(uuids)
        with self.postgres.connect() as connection, connection.cursor() as cursor:
            resources = [(first, 1, "s", None), (first + 1, 2, "t", first)]
            names = [(first, 32, 13, study.uid), (first + 1, 32, 14, study.series)]
            for place, image in enumerate(study.images, first + 2):
                resources.append((place, 3, "i", first + 1))
                names.append((place, 8, 24, image.sop_instance))
            cursor.executemany("insert into resources values (%s, %s, %s, %s)", resources)
            cursor.executemany("insert into dicomidentifiers values (%s, %s, %s, %s)", names)
            cursor.executemany(
                "insert into attachedfiles values (%s, 1, %s, 12, 12, 1, '', '')",
                [(place, str(uuid)) for place, uuid in enumerate(uuids, first + 2)],
            )


def main() -> None:
    """Measure, and print the result."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    logging.basicConfig(format="%(message)s", level=logging.ERROR)
    options = backlog.Options(*map(int, sys.argv[1:]))
    directory = Path(tempfile.mkdtemp(prefix="hapacs-storage-"))
    directory.chmod(0o755)
    postgres = Postgres(directory)
    service: subprocess.Popen[bytes] | None = None
    try:
        postgres.start()
        config = _configure(directory, postgres)
        known = settings.load(config)
        database = Database(known.database, Metrics())
        schema.migrate(database)
        with postgres.connect() as connection:
            connection.execute(INDEX)
            connection.execute(_INDEXES)
        unused = str(directory / "unused.pem")
        identity = ["--certificate", unused, "--key", unused, "--authority", unused]
        command = ["route", "run", "--metrics-port", str(free_ports(1)[0]), "--config", str(config), *identity]
        program = [sys.executable, "-m", "hapacs_node", *command]
        service = subprocess.Popen(program, stderr=subprocess.DEVNULL)
        document = backlog.run(
            Local(Catalog(database), Das(known.das, Metrics()), postgres), options, logging.getLogger("bench").error
        )
        # Both destinations got nearly all of them. The time contains planning, failures and waiting.
        ticks = sum(map(int, Path(f"/proc/{service.pid}/stat").read_text().rpartition(")")[2].split()[11:13]))
        document["service_cpu_ms_per_image"] = 1000 * ticks / os.sysconf("SC_CLK_TCK") / (2 * options.instances)
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    finally:
        if service is not None:
            service.terminate()
            service.wait(timeout=60)
        postgres.kill()
        shutil.rmtree(directory)


def _configure(directory: Path, postgres: Postgres) -> Path:
    (directory / "das").mkdir()
    (directory / "password").write_text(PASSWORD)
    (directory / "cas.json").write_text(json.dumps({"access_key": "none", "secret_key": "none"}))
    password, keys = str(directory / "password"), str(directory / "cas.json")
    document = {
        "node": "pacs1",
        "site": "main",
        "database": {"hosts": ["127.0.0.1"], "port": postgres.port, "password_file": password},
        "das": {"root": str(directory / "das"), "minimum_free_bytes": 0, "must_be_mount": False},
        # Nothing is there: an image that is not on the DAS fails.
        "cas": {"gateways": [f"http://127.0.0.1:{free_ports(1)[0]}"], "bucket": "none", "credentials_file": keys},
    }
    config = directory / "node.json"
    config.write_text(json.dumps(document))
    return config


if __name__ == "__main__":
    main()

"""The drill's proxy in front of a real PostgreSQL: a COMMIT is applied and its answer does not come."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from hapacs.deployment import PROJECT
from tests.storage.servers import PASSWORD, Postgres, free_ports, wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root marks packets")
FILES = PROJECT / "ansible" / "roles" / "drill" / "files"
# With another port and another file for its notes than on a node.
PROGRAM = """
import asyncio, json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import drill_answers, drill_proxy
drill_proxy.PORT, drill_proxy.NOTES = int(sys.argv[3]), Path(sys.argv[4])
asyncio.run(drill_answers.main(json.loads(sys.argv[2])))
"""


@dataclass
class Lossy:
    """A proxy that runs."""

    port: int
    ca: Path
    notes_file: Path

    def connect(self, application: str) -> psycopg.Connection[tuple[object, ...]]:
        """Connect as a node does: the server's certificate is checked, and its digest is part of the login."""
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user="pacs", password=PASSWORD, dbname="pacs", sslmode="verify-full",
            sslrootcert=str(self.ca), channel_binding="require", application_name=application, connect_timeout=5,
        )  # fmt: skip

    @property
    def notes(self) -> dict[str, int]:
        """What the proxy has noted."""
        return dict(json.loads(self.notes_file.read_text())) if self.notes_file.exists() else {}


@pytest.fixture
def lossy(postgres: Postgres, tmp_path: Path) -> Iterator[Lossy]:
    certificate, key = postgres.data / "drill.crt", postgres.data / "drill.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=db", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    for file in (certificate, key):
        os.chown(file, pwd.getpwnam("postgres").pw_uid, -1)
    with postgres.connect() as connection:
        connection.execute(f"alter system set ssl_cert_file = '{certificate}'")
        connection.execute(f"alter system set ssl_key_file = '{key}'")
        connection.execute("alter system set ssl = on")
        connection.execute("select pg_reload_conf()")
        connection.execute("drop table if exists kept; create table kept (number int primary key)")
    ca = tmp_path / "ca.crt"
    ca.write_bytes(certificate.read_bytes())
    found = Lossy(free_ports(1)[0], ca, tmp_path / "notes.json")
    fault = {
        "address": "127.0.0.1", "port": postgres.port, "certificate": str(certificate), "key": str(key), "ca": str(ca),
        "application": "orthanc-store-", "table": "kept",
    }  # fmt: skip
    words = [sys.executable, "-c", PROGRAM, str(FILES), json.dumps(fault), str(found.port), str(found.notes_file)]
    process = subprocess.Popen(words)

    def listens() -> bool:
        assert process.poll() is None
        try:
            found.connect("other").close()
        except psycopg.OperationalError:
            return False
        return True

    try:
        wait_until(listens, "the start of the proxy", 20)
        yield found
    finally:
        process.kill()
        process.wait()
        with postgres.connect() as connection:
            connection.execute("alter system reset all")
            connection.execute("select pg_reload_conf()")


def numbers(postgres: Postgres) -> list[object]:
    with postgres.connect() as connection:
        return [number for (number,) in connection.execute("select number from kept order by 1")]


def test_row_is_there_and_its_writer_got_no_answer(lossy: Lossy, postgres: Postgres) -> None:
    connection = lossy.connect("orthanc-store-pacs1")
    connection.execute("insert into kept values (1)")
    with pytest.raises(psycopg.OperationalError):
        connection.commit()
    assert numbers(postgres) == [1]
    assert lossy.notes == {"lost": 1, "rows": 1}


def test_writers_get_on_between_two_lost_answers(lossy: Lossy, postgres: Postgres) -> None:
    with pytest.raises(psycopg.OperationalError), lossy.connect("orthanc-store-pacs1") as connection:
        connection.execute("insert into kept values (1)")
    with lossy.connect("orthanc-store-pacs1") as connection:
        connection.execute("insert into kept values (2)")
    assert numbers(postgres) == [1, 2]
    assert lossy.notes == {"lost": 1, "rows": 1}


def test_other_sessions_and_transactions_that_write_nothing_are_left_alone(lossy: Lossy, postgres: Postgres) -> None:
    with lossy.connect("hapacs") as connection:
        connection.execute("insert into kept values (3)")
    with lossy.connect("orthanc-store-pacs1") as connection:
        assert connection.execute("select number from kept").fetchall() == [(3,)]
    with lossy.connect("orthanc-store-pacs1") as connection:
        connection.execute("insert into kept values (4)")
        connection.rollback()
    assert numbers(postgres) == [3]
    assert lossy.notes == {}


def test_failed_transaction_is_answered_as_such(lossy: Lossy, postgres: Postgres) -> None:
    with lossy.connect("orthanc-store-pacs1") as connection:
        connection.execute("insert into kept values (5)")
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute("insert into kept values (5)")
        connection.commit()
        assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
    assert numbers(postgres) == []
    assert lossy.notes == {}

"""The database of a site is put back to a time, in place, by the playbook of `hapacs restore`."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hapacs.load.waiting import eventually

KEEPER, DATABASE, STANZA = "hapacs-molecule-keeper", "hapacs-molecule-database", "molecule-primary"
testinfra_hosts = [f"ansible://{KEEPER}"]

PROGRAM = "cd / && runuser --user postgres -- /usr/local/lib/hapacs/postgres-restore "
PLAYBOOKS = Path(__file__).resolve().parents[4] / "ansible/playbooks"


@pytest.fixture(scope="module")
def database(other_host: Callable[[str], Any]) -> Any:
    return other_host(DATABASE)


def sql(node: Any, statement: str, database: str = "pacs") -> str:
    """Run a statement as superuser on the database node."""
    command = "cd / && runuser --user postgres -- psql --no-psqlrc --quiet --tuples-only --no-align %s --command=%s"
    return str(node.check_output(command, database, statement)).strip()


def play(*words: str, **variables: str) -> str:
    """Run the playbook, and return what it printed."""
    command = ["ansible-playbook", "--inventory", os.environ["MOLECULE_INVENTORY_FILE"], *words, "--extra-vars"]
    done = subprocess.run(
        [*command, json.dumps({"site": "primary"} | variables), str(PLAYBOOKS / "restore.yml")],
        capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    return done.stdout


def names(node: Any) -> set[str]:
    return set(sql(node, "select uid from images where uid !~ '^i[0-9]+$'").splitlines())


def archived(host: Any, database: Any) -> None:
    """Wait until all that was committed is at the other site."""
    segment = sql(database, "select pg_walfile_name(pg_create_restore_point('test') - 1)")
    sql(database, "select pg_switch_wal()")
    find = f"find /srv/data/pgbackrest/archive/{STANZA} -name '{segment}-*' -not -name '*.tmp'"
    eventually(f"{segment} arrives", lambda: host.check_output(find), 120)


@pytest.fixture(scope="module")
def then(host: Any, database: Any) -> str:
    """The time to which the database is put back; rows were written before and after it."""
    host.check_output("systemctl start pgbackrest-backup.service")
    sql(database, "create table if not exists images (uid text primary key)")
    sql(database, "insert into images values ('wanted')")
    sql(database, "create table if not exists objects (key text primary key)", "cas")
    at = sql(database, "select clock_timestamp()")
    sql(database, "select pg_sleep(1); insert into images values ('too late')")
    sql(database, "insert into objects values ('archived too late')", "cas")
    archived(host, database)
    return at


@pytest.fixture(scope="module")
def restored(database: Any, then: str) -> str:
    """Put it back, while a former try has left the database off after it had made a cluster, and was then given up."""
    for step in (f"prepare '{then}'", "keep cas"):
        database.check_output(PROGRAM + step)
    database.check_output("systemctl stop patroni")
    database.check_output(PROGRAM + "recover")
    database.check_output("systemctl start patroni")
    sql_answers(database)
    sql(database, "insert into images values ('while it was given up')")
    return play(to_time=then)


def sql_answers(node: Any) -> None:
    command = "/usr/local/lib/hapacs/postgres-cluster self"
    eventually("the database leads again", lambda: node.run(command).rc == 0, 90)


def test_check_changes_nothing(database: Any, then: str) -> None:
    said = play("--check", to_time=then)
    assert "Select the member" not in said
    assert names(database) >= {"wanted", "too late"}
    assert json.loads(database.check_output(PROGRAM + "state"))["phase"] == "none"


def test_rows_are_as_of_the_time_and_the_archives_metadata_as_of_now(database: Any, restored: str) -> None:
    assert names(database) == {"wanted"} | (names(database) & {"after the backup"})
    assert sql(database, "select key from objects", "cas") == "archived too late"
    assert "former" in restored


def test_former_data_are_kept(database: Any, restored: str) -> None:
    assert restored
    assert database.file("/srv/data/postgres/former/global/pg_control").exists
    assert not database.file("/srv/data/postgres/restored/cluster").exists


def test_second_run_changes_nothing_and_loses_nothing(database: Any, restored: str, then: str) -> None:
    assert restored
    sql(database, "insert into images values ('after the restore')")
    said = play(to_time=then)
    assert "changed=0" in said.split("PLAY RECAP")[1], said[-2000:]
    assert "after the restore" in names(database)


def test_backup_and_wal_go_on_after_it(host: Any, database: Any, restored: str) -> None:
    assert restored
    archived(host, database)
    program = "/usr/local/lib/hapacs/pgbackrest-backup /etc/pgbackrest/backup.conf /etc/pgbackrest/stanzas diff"
    user = "--property=User=pgbackrest --property=Group=pgbackrest --property=RuntimeDirectory=pgbackrest-backup"
    keep = "--property=RuntimeDirectoryPreserve=yes"
    said = host.check_output(f"systemd-run --quiet --wait --pipe --collect {user} {keep} -- {program}")
    assert "type=diff" in said
    sql(database, "insert into images values ('after the next backup')")
    archived(host, database)


def test_newest_wal_is_restored_across_the_former_restore(database: Any, restored: str) -> None:
    assert restored
    before = names(database)
    play(archive="restored")
    assert names(database) == before
    assert "after the next backup" in before

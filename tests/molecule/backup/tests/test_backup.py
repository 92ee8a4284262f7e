"""Backups of one site's database at a node of another one: made, out of reach of the database node, and restored."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hapacs.load.waiting import eventually
from hapacs.site import backup, digests
from hapacs.site.access import Node, Site

KEEPER, DATABASE, STANZA = "hapacs-molecule-keeper", "hapacs-molecule-database", "molecule-primary"
testinfra_hosts = [f"ansible://{KEEPER}"]
pytestmark = pytest.mark.usefixtures("backed_up")

REPOSITORY = "/srv/data/pgbackrest"
SEGMENT_BYTES = 16 << 20
# All that root there can show: its key is valid for a user of the group only.
CLIENT = (
    "setpriv --reuid=postgres --regid=postgres --clear-groups "
    f"pgbackrest --config=/etc/pgbackrest/database.conf --stanza={STANZA}"
)
AS = "setpriv --reuid=%s --regid=pgbackrest --clear-groups "


@pytest.fixture(scope="module")
def database(other_host: Callable[[str], Any]) -> Any:
    return other_host(DATABASE)


def sql(node: Any, statement: str) -> str:
    """Run a statement as superuser on the database node."""
    command = "cd / && runuser --user postgres -- psql --no-psqlrc --quiet --tuples-only --no-align pacs --command=%s"
    return str(node.check_output(command, statement)).strip()


def info(host: Any) -> dict[str, Any]:
    """Return what pgBackRest says of the database's backups."""
    command = AS + "pgbackrest --config=/etc/pgbackrest/backup.conf --stanza=%s --output=json info"
    (found,) = json.loads(host.check_output(command, "pgbackrest", STANZA))
    return dict(found)


def contents(host: Any) -> set[str]:
    """Return digests and paths of the files in the repository."""
    digests = host.check_output(f"find {REPOSITORY} -type f -not -name '*.pgbackrest.tmp' -exec sha256sum {{}} +")
    return set(digests.splitlines())


def archived(host: Any, database: Any) -> str:
    """Have the current WAL segment archived, and return its name when it is in the repository."""
    # At the beginning of a segment there would be nothing to switch.
    segment = sql(database, "select pg_walfile_name(pg_create_restore_point('test') - 1)")
    sql(database, "select pg_switch_wal()")
    find = f"find {REPOSITORY}/archive/{STANZA} -name '{segment}-*' -not -name '*.tmp'"
    eventually(f"{segment} arrives", lambda: host.check_output(find), 120)
    return segment


def metrics_of(node: Any, unit: str, file: str) -> dict[str, float]:
    """Run what writes metrics, and return them by name; each has one stanza here."""
    node.check_output("systemctl start %s.service", unit)
    lines = node.file(f"/var/lib/prometheus/node-exporter/{file}").content_string.splitlines()
    return {line.split("{")[0]: float(line.rsplit(" ", 1)[1]) for line in lines if not line.startswith("#")}


@pytest.fixture(scope="module")
def backed_up(host: Any, database: Any) -> dict[str, Any]:
    """Have the timer's unit make the first backup, and return it."""
    sql(database, "create table if not exists images (uid text primary key)")
    sql(database, "insert into images select 'i' || n from generate_series(1, 1000) n on conflict do nothing")
    assert host.service("pgbackrest-backup.timer").is_running
    # Waits for the timer's own start, if it is under way.
    host.check_output("systemctl start pgbackrest-backup.service")
    first = info(host)["backup"][0]
    return dict(first)


def test_timers_unit_makes_a_full_backup(host: Any, backed_up: dict[str, Any]) -> None:
    assert (backed_up["type"], backed_up["error"]) == ("full", False)
    said = info(host)
    assert said["status"]["code"] == 0
    assert said["cipher"] == "aes-256-cbc"
    assert [one["type"] for one in said["backup"]].count("full") == 1, "the same slot has one backup"


def test_wal_is_pushed_and_sealed(host: Any, database: Any) -> None:
    segment = archived(host, database)
    find = f"find {REPOSITORY}/archive/{STANZA} -name '{segment}-*' -user pgbackrest -perm 0440"
    eventually(f"{segment} is sealed", lambda: host.check_output(find), 90)
    failed = sql(database, "select failed_count from pg_stat_archiver")
    assert int(sql(database, "select archived_count from pg_stat_archiver")) > 0, failed


def test_root_on_the_database_node_changes_no_backup(host: Any, database: Any, backed_up: dict[str, Any]) -> None:
    segment = archived(host, database)
    host.check_output("systemctl start pgbackrest-seal.service")
    before = contents(host)
    label = backed_up["label"]
    find = f"find {REPOSITORY}/archive/{STANZA} -name '{segment}-*'"
    wal = host.check_output(find).removeprefix(f"{REPOSITORY}/")
    for path in (f"backup/{STANZA}/backup.info", f"backup/{STANZA}/{label}/backup.manifest",
                 f"archive/{STANZA}/archive.info", wal, "new"):  # fmt: skip
        done = database.run(f"echo overwritten | {CLIENT} repo-put {path}")
        assert done.rc != 0, path
        assert "raised from remote" in done.stdout + done.stderr, (path, done.stdout, done.stderr)
    for command in ("--repo1-retention-full=1 expire", f"--set={label} expire", "--force stanza-delete", "backup"):
        assert database.run(f"{CLIENT} {command}").rc != 0, command
    # A changed pgBackRest may ask the server for anything: the rights of its user are what counts.
    # WAL that has just arrived belongs to that user until it is sealed.
    removes = f"find {REPOSITORY} -type f -not -user pgbackrest-archive -print0 | {AS} xargs --null rm --force"
    assert host.run(removes, "pgbackrest-archive").rc != 0
    for directory in (f"archive/{STANZA}", f"archive/{STANZA}/17-1", f"backup/{STANZA}/{label}"):
        path = f"{REPOSITORY}/{directory}"
        assert host.run(AS + "mv %s %s.moved", "pgbackrest-archive", path, path).rc != 0, path
    assert before <= contents(host)
    # A part of a file that repo-put left would stop the next backup.
    host.check_output("systemctl start pgbackrest-seal.service")
    assert host.check_output(f"find {REPOSITORY}/archive/{STANZA} -maxdepth 1 -type f -not -user pgbackrest") == ""


def test_certificate_of_another_service_is_refused(database: Any) -> None:
    other = "--repo1-host-cert-file=/etc/patroni/tls/server.crt --repo1-host-key-file=/etc/patroni/tls/server.key"
    assert database.run(f"{CLIENT} repo-ls backup").rc == 0
    done = database.run(f"{CLIENT} {other} repo-ls backup")
    assert done.rc != 0, done.stdout


def test_backups_are_encrypted(host: Any) -> None:
    # What pgBackRest encrypted begins with the word that OpenSSL writes before its salt.
    program = (
        "import json, pathlib, sys; print(json.dumps({str(path): path.read_bytes()[:8] == b'Salted__' "
        "for path in pathlib.Path(sys.argv[1]).rglob('*') if path.is_file() and path.suffix != '.tmp'}))"
    )
    encrypted = json.loads(host.check_output("python3 -c %s %s", program, REPOSITORY))
    assert len(encrypted) > 100
    assert [path for path, whether in encrypted.items() if not whether] == []


class Place:
    """A site whose only node is a host of the scenario, as the commands of `hapacs` reach it."""

    def __init__(self, host: Any, name: str, node: str, **contract: Any) -> None:
        self._host, self.name, self.deployment = host, name, SimpleNamespace(name="molecule")
        self.nodes = {node: Node(node, "", "", "hapacs", 22)}
        self.contract = {"nodes": {node: {"data_directory": "/srv/data"}}, **contract}

    def members(self, _group: str) -> list[Node]:
        return list(self.nodes.values())

    def run(self, _node: Node, words: Sequence[str], text: str, _timeout_s: float = 60) -> str:
        return str(self._host.check_output(f"cd / && printf %s {shlex.quote(text)} | {' '.join(words)}"))


@pytest.fixture(scope="module")
def keeper(host: Any, database: Any) -> backup.Keeper:
    places = [Place(database, "primary", DATABASE, backup={"host": KEEPER}), Place(host, "dr", KEEPER)]
    return backup.Keeper.of(cast("Site", places[0]), cast("list[Site]", places))


def test_rehearsed_restore_gives_the_rows_and_leaves_nothing(
    host: Any, database: Any, keeper: backup.Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    sql(database, "insert into images values ('after the backup') on conflict do nothing")
    monkeypatch.setattr(backup, "TABLES", {"pacs": ("images",)})
    # There is no catalog here.
    digest = "select 0, count(*), bit_xor(hashtextextended(i::text, 0)), 0 from images i"
    monkeypatch.setattr(digests, "statements", lambda _until: {"images": digest})
    report = backup.rehearse(keeper, lambda _: None)
    assert report["counts"]["images"] == {"before": 1001, "restored": 1001, "after": 1001, "ok": True}
    assert report["digests"]["images"] == {"rows": 1001, "different": 0, "changed": 0, "ok": True}
    assert report["mb_per_s"] > 0
    assert report["rpo_s"] is not None
    left = host.check_output("ls /srv/data/pgbackrest-scratch").split()
    assert left == ["lock", f"restored-{STANZA}.json"]


def test_weekly_rehearsal_runs_unattended_and_is_a_metric(host: Any, backed_up: dict[str, Any]) -> None:
    assert not backed_up["error"]
    host.check_output("rm --force /srv/data/pgbackrest-scratch/restored-*.json")
    began = time.time()
    host.check_output("systemctl start pgbackrest-rehearse.service")
    metrics = metrics_of(host, "pgbackrest-seal", "hapacs_backup.prom")
    assert metrics["hapacs_backup_restored_time_seconds"] > began
    assert metrics["hapacs_backup_restore_seconds"] > 0


def test_scratch_cluster_has_no_right_to_a_backup(host: Any) -> None:
    """What a database node wrote into its database may run there."""
    said = host.check_output("systemctl show --property=User,ReadWritePaths,PrivateNetwork pgbackrest-rehearse.service")
    assert set(said.splitlines()) == {
        "User=pgbackrest-scratch", "ReadWritePaths=/srv/data/pgbackrest-scratch", "PrivateNetwork=yes",
    }  # fmt: skip
    before = contents(host)
    removed = host.run(AS + "rm --recursive --force %s/archive %s/backup", "pgbackrest-scratch", REPOSITORY, REPOSITORY)
    assert removed.rc != 0
    assert before <= contents(host)


def test_another_backup_is_made_on_demand(keeper: backup.Keeper) -> None:
    made = backup.now(keeper, "diff")
    assert (made["type"], made["error"]) == ("diff", False)
    assert [one["type"] for one in backup.listed(keeper)] == ["full", "diff"]


@pytest.mark.parametrize("name", [KEEPER, DATABASE])
@pytest.mark.parametrize("unit", ["pgbackrest-database", "pgbackrest-repository"])
def test_both_servers_run_on_each_node(other_host: Callable[[str], Any], name: str, unit: str) -> None:
    # The database's node keeps nothing, and nobody keeps backups of the keeper's: their servers admit nobody.
    node = other_host(name)
    assert node.service(unit).is_running
    assert node.check_output("systemctl show --property=NRestarts --value %s", unit) == "0"


@pytest.mark.parametrize("name", [KEEPER, DATABASE])
def test_what_has_nothing_to_do_does_not_fail(other_host: Callable[[str], Any], name: str) -> None:
    node = other_host(name)
    for unit in ("backup", "seal", "rehearse", "position"):
        node.check_output("systemctl start pgbackrest-%s.service", unit)
    assert node.check_output("systemctl list-units --failed --plain --no-legend 'pgbackrest-*'") == ""
    written = node.check_output("ls /var/lib/prometheus/node-exporter").split()
    ours = [file for file in written if file.startswith("hapacs_backup")]
    assert ours == (["hapacs_backup.prom"] if name == KEEPER else ["hapacs_backup_position.prom"])


def test_second_site_archives_nothing(host: Any) -> None:
    assert sql(host, "show archive_mode") == "off"
    assert "pg1" not in host.file("/etc/pgbackrest/database.conf").content_string


def test_age_of_the_newest_backup_is_a_metric(host: Any) -> None:
    newest = max(one["timestamp"]["stop"] for one in info(host)["backup"])
    metrics = metrics_of(host, "pgbackrest-seal", "hapacs_backup.prom")
    assert metrics["hapacs_backup_ended_time_seconds"] == newest
    assert metrics["hapacs_backup_missing_segments"] == 0


def test_gap_in_the_wal_is_counted(host: Any, database: Any) -> None:
    segment = archived(host, database)
    archived(host, database)
    (file,) = host.check_output(f"find {REPOSITORY}/archive/{STANZA} -name '{segment}-*'").splitlines()
    host.check_output("mv %s /root/", file)
    try:
        assert metrics_of(host, "pgbackrest-seal", "hapacs_backup.prom")["hapacs_backup_missing_segments"] == 1
    finally:
        host.check_output("mv /root/%s %s", file.rpartition("/")[2], file)
    assert metrics_of(host, "pgbackrest-seal", "hapacs_backup.prom")["hapacs_backup_missing_segments"] == 0


def test_wal_that_does_not_arrive_is_seen_by_its_position(host: Any, database: Any) -> None:
    archived(host, database)
    # Each switch of the segment moves the position.
    before = metrics_of(database, "pgbackrest-position", "hapacs_backup_position.prom")
    assert before["hapacs_backup_behind_bytes"] < 2 * SEGMENT_BYTES
    host.check_output("systemctl stop pgbackrest-repository.service")
    try:
        for _ in range(4):
            sql(database, "select pg_logical_emit_message(true, 'hapacs', 'something is stored')")
            sql(database, "select pg_switch_wal()")
        silent = metrics_of(database, "pgbackrest-position", "hapacs_backup_position.prom")
    finally:
        host.check_output("systemctl start pgbackrest-repository.service")
    assert silent["hapacs_backup_newest_bytes"] >= before["hapacs_backup_newest_bytes"]
    assert silent["hapacs_backup_behind_bytes"] >= 3 * SEGMENT_BYTES


def test_check_of_a_configured_node_changes_nothing(host: Any, apply: Callable[..., Any]) -> None:
    done = apply(host, "--check", hapacs_installed=True)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "changed=0" in done.stdout, done.stdout[-3000:]

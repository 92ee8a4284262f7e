"""Backups with a real PostgreSQL and a real pgBackRest: what comes back, and what a database node can't do to them."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.storage.backed_up import GROUP, OWNER, ROLE, SCRATCH, SERVER, STANZA, BackedUp, as_user
from tests.storage.servers import Process, free_ports, wait_until
from tests.unit.ansible.loading import load_script

pytestmark = [
    pytest.mark.skipif(
        shutil.which("pgbackrest") is None, reason="pgBackRest is not installed: `apt-get install pgbackrest`"
    ),
    pytest.mark.skipif(os.geteuid() != 0, reason="backups belong to users of their own: needs root"),
]


@pytest.fixture(scope="module")
def site(directory: Path, _programs: None) -> Iterator[BackedUp]:
    """A database with one full backup, whose WAL is sealed."""
    place = directory / "backed-up"
    place.mkdir(mode=0o755)
    made = BackedUp(place)
    try:
        made.start()
        with made.connect() as connection:
            connection.execute("create table images (uid text primary key)")
            connection.execute("insert into images select 'before-' || i from generate_series(1, 1000) i")
        done = made.back_up()
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"stanza={STANZA} type=full" in done.stdout
        yield made
    finally:
        made.stop()


def seal(site: BackedUp) -> int:
    sealed: int = load_script("pgbackrest/files/pgbackrest-seal").seal(
        site.repository / "archive" / STANZA, OWNER, SERVER
    )
    return sealed


def switch_wal(site: BackedUp) -> None:
    """Wait until all that was committed is in the repository."""
    with site.connect() as connection:
        row = connection.execute("select pg_walfile_name(pg_create_restore_point('test') - 1)").fetchone()
        connection.execute("select pg_switch_wal()")
    assert row is not None
    wait_until(lambda: any(path.name.startswith(row[0]) for path in site.segments()), f"archiving {row[0]}")


def test_database_comes_back_as_of_a_time(site: BackedUp) -> None:
    # A backup's end is a whole second, and only a later time is reached from it.
    wait_until(lambda: time.time() > site.backed_up_at() + 1, "a time after the backup")
    with site.connect() as connection:
        connection.execute("insert into images values ('wanted')")
        row = connection.execute("select clock_timestamp()").fetchone()
        assert row is not None
        connection.execute("select pg_sleep(1)")
        connection.execute("insert into images values ('too late')")
    switch_wal(site)
    scratch = site.directory / "scratch"
    scratch.mkdir(mode=0o700)
    os.chown(scratch, OWNER, GROUP)
    settings = dict(
        line.split("=", 1) for line in (site.directory / "backup.conf").read_text().splitlines() if "=" in line
    )
    configuration = site.directory / "scratch.conf"
    kept = [f"{name}={settings[name]}" for name in ("repo1-path", "repo1-cipher-type", "repo1-cipher-pass")]
    lines = [
        "[global]",
        *kept,
        "log-level-file=off",
        f"lock-path={site.locks['backup']}",
        f"spool-path={site.locks['backup']}",
        f"[{STANZA}]",
        f"pg1-path={scratch}",
    ]
    configuration.write_text("\n".join(lines) + "\n")
    command = ["pgbackrest", f"--config={configuration}", f"--stanza={STANZA}", "--type=time", f"--target={row[0]}"]
    restored = subprocess.run(
        as_user(OWNER, GROUP, [*command, "--target-action=promote", "restore"]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert restored.returncode == 0, restored.stdout + restored.stderr
    (port,) = free_ports(1)
    options = [f"-cport={port}", f"-cunix_socket_directories={scratch}", "-carchive_mode=off"]
    started = [str(site.binaries / "postgres"), "-D", str(scratch), *options]
    server = Process(as_user(OWNER, GROUP, started), site.directory / "scratch.log", site.directory)
    server.start()
    try:

        def promoted() -> bool:
            assert server.running, server.log.read_text()
            try:
                with site.connect(scratch, port) as connection:
                    return connection.execute("select pg_is_in_recovery()").fetchone() == (False,)
            except Exception:  # noqa: BLE001 - it starts
                return False

        wait_until(promoted, "recovery")
        with site.connect(scratch, port) as connection:
            assert connection.execute("select count(*) from images").fetchone() == (1001,)
            assert connection.execute("select from images where uid = 'too late'").fetchone() is None
    finally:
        server.kill()


def test_backup_is_made_while_a_database_node_has_no_power(site: BackedUp) -> None:
    configuration = site.directory / "one-off.conf"
    with site.without_power() as address:
        configuration.write_text(site.joined_by(address))
        os.chown(configuration, 0, GROUP)
        configuration.chmod(0o640)
        before = site.backed_up_at()
        done = site.back_up("diff", configuration)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"event=database_node_left_out address={address} reason=timed out" in done.stderr
    assert site.backed_up_at() > before


def test_rehearsed_restore_counts_what_was_committed_and_leaves_nothing(site: BackedUp) -> None:
    with site.connect() as connection:
        connection.execute("insert into images values ('before the rehearsal')")
        row = connection.execute("select count(*), extract(epoch from clock_timestamp()) from images").fetchone()
    assert row is not None
    switch_wal(site)
    scratch = site.directory / "rehearsal"
    scratch.mkdir(mode=0o700)
    os.chown(scratch, SCRATCH, GROUP)
    program = [str(ROLE / "files/pgbackrest-rehearse"), f"{site.directory}/backup.conf", STANZA]
    digest = "select 0, count(*), bit_xor(hash_record_extended(i, 0)), 0 from images i"
    with site.connect() as connection:
        live = connection.execute(digest).fetchone()
    assert live is not None
    given = json.dumps({"postgres": ["images"]}), json.dumps({"postgres": {"images": digest}})
    words = [*program, str(scratch), str(site.binaries), *given]
    done = subprocess.run(
        as_user(SCRATCH, GROUP, words), capture_output=True, text=True, check=False, timeout=300, cwd=site.directory
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["rows"] == {"postgres": {"images": row[0]}}
    assert report["digests"] == {"postgres": {"images": ["|".join(map(str, live))]}}
    assert "digests" not in json.loads((scratch / f"restored-{STANZA}.json").read_text())
    assert 0 <= float(row[1]) - report["last_commit"] < 60
    assert report["bytes"] > 10_000_000
    assert report["recovered_s"] >= report["restore_s"] > 0
    assert sorted(path.name for path in scratch.iterdir()) == ["lock", f"restored-{STANZA}.json"]


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()}


def test_database_node_changes_neither_backups_nor_sealed_wal(site: BackedUp) -> None:
    switch_wal(site)
    assert seal(site) > 0
    before = {path: text for path, text in contents(site.repository).items() if not path.endswith(".pgbackrest.tmp")}
    wal = site.segments()[0].relative_to(site.repository)
    label = next((site.repository / "backup" / STANZA).glob("*F")).name
    tried = [
        ("repo-put", f"backup/{STANZA}/backup.info"),
        ("repo-put", f"backup/{STANZA}/{label}/backup.manifest"),
        ("repo-put", f"archive/{STANZA}/archive.info"),
        ("repo-put", str(wal)),
        ("repo-put", "new"),
    ]
    for command, path in tried:
        done = site.on_database_node(f"--stanza={STANZA}", command, path, given=b"overwritten")
        assert done.returncode != 0, path
        assert b"raised from remote" in done.stdout + done.stderr, (path, done.stdout, done.stderr)
    assert site.on_database_node(f"--stanza={STANZA}", "--repo1-retention-full=1", "expire").returncode != 0
    left = contents(site.repository)
    # The live database adds WAL meanwhile.
    assert {path: left.get(path) for path in before} == before
    assert not (site.repository / "new").exists()
    load_script("pgbackrest/files/pgbackrest-seal").clear(site.repository / "archive" / STANZA, SERVER)
    asked = site.back_up("diff")
    assert asked.returncode == 0, asked.stderr


def test_server_of_the_database_nodes_has_no_right_to_delete(site: BackedUp) -> None:
    """A changed pgBackRest may ask the server for anything: the rights of its user are what counts."""
    switch_wal(site)
    seal(site)
    before = contents(site.repository)
    kept = [path for path in before if not path.endswith(".pgbackrest.tmp")]
    subprocess.run(
        as_user(SERVER, GROUP, ["rm", "-rf", f"{site.repository}/archive", f"{site.repository}/backup"]),
        check=False,
        capture_output=True,
    )
    assert [path for path in kept if not Path(path).exists()] == []


def test_sealed_wal_can_be_archived_again_and_followed(site: BackedUp) -> None:
    switch_wal(site)
    seal(site)
    count = len(site.segments())
    switch_wal(site)
    with site.connect() as connection:
        connection.execute("insert into images values ('after the seal')")
    switch_wal(site)
    assert len(site.segments()) > count


def test_node_of_another_name_gets_nothing(site: BackedUp) -> None:
    command = ["pgbackrest", f"--config={site.directory}/stranger.conf", f"--stanza={STANZA}"]
    wal = site.segments()[0].name[:24]
    asked = as_user(*site.postgres, [*command, "archive-get", wal, f"{site.socket}/stolen"])
    done = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode != 0
    assert "access denied" in done.stdout + done.stderr
    assert not (site.socket / "stolen").exists()


def test_day_has_one_backup_and_another_on_demand(site: BackedUp) -> None:
    again = site.back_up()
    assert (again.returncode, again.stdout) == (0, "")
    asked = site.back_up("diff")
    assert asked.returncode == 0, asked.stderr
    assert f"stanza={STANZA} type=diff" in asked.stdout


def test_wal_is_kept_until_the_disk_is_nearly_full(site: BackedUp) -> None:
    file = next(path for path in sorted((site.data / "pg_wal").iterdir()) if len(path.name) == 24)
    unreadable = site.directory / "absent.conf"
    kept = site.push(f"pg_wal/{file.name}", 1, unreadable)
    assert kept.returncode == 1
    given_up = site.push(f"pg_wal/{file.name}", 1 << 60, unreadable)
    assert given_up.returncode == 0
    assert f"WAL pg_wal/{file.name} was NOT archived" in given_up.stderr

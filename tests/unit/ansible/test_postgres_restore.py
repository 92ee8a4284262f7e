"""The program that restores a member's cluster: what each step finds, and that it can be repeated."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.ansible.loading import load_script

restore = load_script("postgres/files/postgres-restore")
scratch = sys.modules["patroni_scratch"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A member with a live cluster on timeline 3, and a restored one on timeline 4."""
    found = restore.Place(tmp_path / "17", tmp_path / "bin", "lab-primary")
    found.work.mkdir()
    for directory, words in ((found.data, "live"), (found.cluster, "restored")):
        (directory / "global").mkdir(parents=True)
        (directory / "global/pg_control").write_text(words)
    (found.cluster / restore.MARK).write_text("77\n")
    found.note(id="77", target="then", phase="recovered", bytes=0)
    timelines = {"live": "3", "restored": "4"}

    def control(_place: Any, directory: Path, name: str) -> str:
        said = {"Latest checkpoint's TimeLineID": timelines[text(directory)], "Database system identifier": "4711"}
        return said[name]

    monkeypatch.setattr(restore.Place, "control", control)
    found.timelines = timelines
    return found


def text(directory: Path) -> str:
    return (directory / "global/pg_control").read_text()


def test_swap_keeps_the_former_cluster_and_is_done_once(place: Any) -> None:
    assert restore.swap(place)["changed"]
    assert (text(place.data), text(place.former)) == ("restored", "live")
    assert not restore.swap(place)["changed"]
    assert (text(place.data), text(place.former)) == ("restored", "live")


def test_swap_that_was_cut_off_between_its_renames_goes_on(place: Any) -> None:
    place.data.rename(place.former)
    # Patroni makes the directory when it is started meanwhile.
    place.data.mkdir()
    restore.swap(place)
    assert (text(place.data), text(place.former)) == ("restored", "live")


def test_swap_that_was_cut_off_at_its_end_goes_on(place: Any) -> None:
    place.data.rename(place.former)
    place.cluster.rename(place.data)
    assert restore.swap(place)["phase"] == "in place"
    assert (text(place.data), text(place.former)) == ("restored", "live")


@pytest.mark.parametrize("how", ["timeline", "runs"])
def test_cluster_that_was_used_again_is_not_replaced(place: Any, how: str) -> None:
    if how == "timeline":
        place.timelines["live"] = "4"
    else:
        (place.data / "postmaster.pid").write_text("1\n")
    assert restore.overtaken(place)
    with pytest.raises(scratch.UnfinishedError):
        restore.swap(place)
    assert text(place.data) == "live"


def test_former_data_of_a_standby_are_moved_once(place: Any) -> None:
    restore.aside(place, "78", 0)
    assert not place.data.exists()
    assert text(place.former) == "live"
    # Patroni copies the restored cluster, with its mark.
    (place.data / "global").mkdir(parents=True)
    (place.data / "global/pg_control").write_text("copied")
    (place.data / restore.MARK).write_text("78\n")
    assert not restore.aside(place, "78", 0)["changed"]
    assert text(place.data) == "copied"
    restore.aside(place, "79", 0)
    assert text(place.former) == "copied", "of the restore before"


def test_former_data_go_where_the_disk_has_no_room_for_both(place: Any) -> None:
    restore.aside(place, "78", 1 << 60)
    assert not place.data.exists()
    assert not place.former.exists()


def test_running_server_is_never_moved(place: Any) -> None:
    (place.data / "postmaster.pid").write_text("1\n")
    with pytest.raises(scratch.UnfinishedError, match="stop Patroni"):
        restore.aside(place, "78", 0)
    assert text(place.data) == "live"


def test_etcd_forgets_who_led_but_not_which_cluster_it_is(place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, dict[str, str]]] = []

    def ask(url: str, _tls: Any, body: dict[str, str]) -> None:
        if "silent" in url:
            raise OSError("no route")
        asked.append((url.rpartition("/")[2], {name: base64.b64decode(one).decode() for name, one in body.items()}))

    monkeypatch.setattr(restore.patroni_http, "ask", ask)
    monkeypatch.setattr(restore.patroni_http, "etcd_tls", lambda _: {})
    place.note(phase="in place")
    configured = {"namespace": "/hapacs/", "scope": "lab-primary", "etcd3": {"hosts": ["silent:2379", "b:2379"]}}
    restore.release(place, configured)
    gone = {body["key"]: body.get("range_end", "") for verb, body in asked if verb == "deleterange"}
    assert {"/hapacs/lab-primary/leader", "/hapacs/lab-primary/sync", "/hapacs/lab-primary/status"} <= set(gone)
    assert gone["/hapacs/lab-primary/members/"] == "/hapacs/lab-primary/members0"
    assert not {"/hapacs/lab-primary/config", "/hapacs/lab-primary/initialize"} & set(gone)
    assert asked[-1] == ("put", {"key": "/hapacs/lab-primary/initialize", "value": "4711"})
    asked.clear()
    assert not restore.release(place, configured)["changed"]
    assert asked == []


def test_restore_without_room_names_what_is_missing(place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    info = [{"backup": [{"info": {"size": 1 << 60}}]}]
    monkeypatch.setattr(restore, "pgbackrest", lambda *_: json.dumps(info))
    with pytest.raises(scratch.UnfinishedError, match="bytes have to be free"):
        restore.prepare(place, "another time")
    assert text(place.cluster) == "restored"


def test_prepared_cluster_is_kept_for_the_same_time(place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any) -> str:
        raise AssertionError("asked for backups")

    monkeypatch.setattr(restore, "pgbackrest", never)
    assert not restore.prepare(place, "then")["changed"]


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[list[str]]]:
    ran: list[list[str]] = []

    def stand(code: int) -> list[list[str]]:
        def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
            ran.append(command)
            if "--file=" in " ".join(command):
                Path(next(word for word in command if word.startswith("--file="))[7:]).write_text("saved")
            if options.get("check") and code:
                raise subprocess.CalledProcessError(code, command)
            return subprocess.CompletedProcess(command, code, "", "")

        monkeypatch.setattr(subprocess, "run", run)
        return ran

    return stand


def test_saved_database_stays_when_nothing_answers_any_more(
    place: Any, programs: Callable[[int], list[list[str]]]
) -> None:
    place.note(phase="prepared")
    programs(0)
    assert restore.keep(place, "cas")["changed"]
    programs(2)
    assert not restore.keep(place, "cas")["changed"]
    assert (place.work / "cas.dump").read_text() == "saved"


def test_database_that_cannot_be_saved_is_named_with_the_way_out(place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        if "pg_dump" in command[0]:
            raise subprocess.CalledProcessError(1, command)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    place.note(phase="prepared")
    with pytest.raises(scratch.UnfinishedError, match="--archive restored"):
        restore.keep(place, "cas")
    assert not (place.work / "cas.dump").exists()


def test_saved_database_is_put_back_once(place: Any, programs: Callable[[int], list[list[str]]]) -> None:
    place.note(phase="released")
    (place.work / "cas.dump").write_text("saved")
    ran = programs(0)
    assert restore.load(place, "cas")["kept"]
    assert {"--single-transaction", "--dbname=cas"} <= set(ran[-1])
    assert not restore.load(place, "cas")["changed"]
    assert len(ran) == 1


def test_wal_that_ends_too_early_is_named(tmp_path: Path) -> None:
    found = scratch.Scratch(tmp_path, tmp_path, tmp_path)
    (tmp_path / "log").write_text(
        "LOG:  last completed transaction was at log time 2026-11-30 08:00:00.1+00\n"
        "FATAL:  recovery ended before configured recovery target was reached\n"
    )
    assert "its last transaction was at 2026-11-30 08:00:00.1+00" in found._why()

"""When the nodes' fence restarts a database or a Patroni that hangs, and when it does not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from types import ModuleType

import pytest

from tests.unit.ansible.loading import load_script

TTL_S = 20.0
CONFIGURATION = {
    "restapi": {"connect_address": "192.0.2.1:8008"},
    "ctl": {"cacert": "ca", "certfile": "crt", "keyfile": "key"},
}


@pytest.fixture
def script() -> ModuleType:
    return load_script("postgres/files/postgres-fence")


@pytest.mark.parametrize(
    ("database_s", "patroni_s", "runs", "said"),
    [
        (0, 0, True, ""),
        (9, 14, True, ""),
        (10, 0, True, "PostgreSQL has not answered for 10 s"),
        (10, 0, False, "PostgreSQL has not answered for 10 s"),
        (0, 15, True, "Patroni has not answered for 15 s"),
        # PostgreSQL refuses connections: it starts, stops or is off, and that is Patroni's work.
        (0, 600, False, ""),
    ],
)
def test_only_silence_for_too_long_is_a_hang(
    script: ModuleType, database_s: float, patroni_s: float, runs: bool, said: str
) -> None:
    seen = script.Seen(database_at=1000 - database_s, patroni_at=1000 - patroni_s, runs=runs)
    assert script.hung(seen, 1000, TTL_S).startswith(said)
    assert bool(script.hung(seen, 1000, TTL_S)) == bool(said)


def test_patroni_is_stopped_before_its_lease_ends(script: ModuleType) -> None:
    # A round takes ANSWER_S + PERIOD_S at most.
    assert script.MARGIN_S > script.ANSWER_S + script.PERIOD_S


def test_refusal_is_an_answer_and_silence_is_none(script: ModuleType) -> None:
    seen = script.Seen(database_at=1, patroni_at=1, runs=True)
    script.look(seen, database=False, patroni=False, clock=lambda: 5.0)
    assert (seen.database_at, seen.runs, seen.patroni_at) == (5.0, False, 1)
    script.look(seen, database=None, patroni=True, clock=lambda: 9.0)
    assert (seen.database_at, seen.runs, seen.patroni_at) == (5.0, False, 9.0)


@pytest.mark.parametrize(("program", "answer"), [("exit 0", True), ("exit 2", False), ("exec sleep 60", None)])
def test_database_that_gives_no_row_in_time_is_silent(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, answer: bool | None
) -> None:
    psql = tmp_path / "psql"
    psql.write_text(f"#!/bin/sh\n{program}\n")
    psql.chmod(0o755)
    monkeypatch.setattr(script, "ANSWER_S", 2.0)
    assert script.ask_database(str(tmp_path)) is answer


def test_patroni_without_a_good_answer_is_silent(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def ask(url: str, _tls: dict[str, str], *, timeout_s: float) -> str:
        assert timeout_s <= script.ANSWER_S
        asked.append(url)
        if len(asked) > 1:
            raise OSError("HTTP Error 503")
        return ""

    monkeypatch.setattr(script.patroni_http, "ask", ask)
    assert script.ask_patroni(CONFIGURATION)
    assert not script.ask_patroni(CONFIGURATION)
    assert set(asked) == {"https://192.0.2.1:8008/liveness"}


@pytest.mark.skipif(os.geteuid() != 0, reason="the other processes of a user can be killed apart for root only")
def test_stopped_processes_of_the_user_are_killed() -> None:
    """The signal that the fence sends ends a stopped process, and not the sender."""
    program = textwrap.dedent("""
        import os, signal, subprocess, sys, time
        os.setuid(54321)
        other = subprocess.Popen(["sleep", "60"])
        other.send_signal(signal.SIGSTOP)
        os.kill(-1, signal.SIGKILL)
        print(other.wait(timeout=10))
    """)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == str(-signal.SIGKILL)

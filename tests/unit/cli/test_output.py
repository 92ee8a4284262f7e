"""What a long command prints into a log."""

import time

import pytest

from hapacs.cli.output import Steps


def test_a_log_gets_a_sign_of_life_twice_a_minute_and_no_more(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: clock)
    with Steps().step("Benchmark") as step:
        for second in range(100):
            clock = 1000.0 + second
            step.now(f"study [{second}]")

    assert [line.strip() for line in capsys.readouterr().out.splitlines()] == [
        "… Benchmark",
        "30.0 s: study [30]",
        "1 min 00 s: study [60]",
        "1 min 30 s: study [90]",
        "✓ Benchmark 1 min 39 s",
    ]


def test_a_log_of_a_quiet_command_is_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    with Steps(quiet=True).step("Benchmark") as step:
        step.now("begun")

    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.split() == ["…", "Benchmark"]

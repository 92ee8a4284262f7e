"""What a long command prints into a log."""

import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time

import pytest

from hapacs.cli import output
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


LONG = "/srv/" + "a-long-directory/" * 8 + "file.log"
SHOW = f"""
from hapacs.cli import output
output.console.print("The whole log of this command is in {LONG} and stays there.")
output.print_error("{LONG} cannot be read.", "Copy it.")
output.print_item("[green]✓[/] pixel-data   1.2 s ", "12 images with the same pixels: {LONG}")
output.print_item("[red]✗[/]", "pacs1 does not answer: switch it on or repair its network, and wait until it does " * 3)
output.console.print("[red]The deployment is unhealthy.[/] `hapacs verify lab` tests more; `hapacs up lab` repairs.")
output.print_table("site", ("node", "path", "role"), [("pacs1", "{LONG}", "leader")])
output.print_table("", ("node", "services", "role"), [("pacs1", "20 running", "leader"), ("pacs2", "19 running", "")])
"""


def at_terminal(columns: int) -> list[str]:
    """Return the lines that a terminal of that width gets."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "NO_COLOR"}}
    with subprocess.Popen(
        [sys.executable, "-c", SHOW], stdout=theirs, stderr=theirs, stdin=theirs, env=environment | {"TERM": "xterm"}
    ):
        os.close(theirs)
        shown = b""
        # Reading fails when the process has ended.
        with contextlib.suppress(OSError):
            while part := os.read(ours, 4096):
                shown += part
    os.close(ours)
    return re.sub(r"\x1b\[[0-9;]*m", "", shown.decode()).splitlines()


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_a_terminal_of_any_width_gets_whole_paths_and_lines_broken_at_blanks(columns: int) -> None:
    lines = at_terminal(columns)
    assert sum(LONG in line for line in lines) == 4
    # Only a word that is longer than the terminal makes a line longer than it.
    assert [line for line in lines if len(line.rstrip()) > columns and LONG not in line] == []
    words = " ".join(lines).split()
    assert {"whole", "command", "stays", "cannot", "pixels:", "services", "running", "leader"} <= set(words)
    assert not [line for line in lines if line.rstrip().endswith("…")]


def test_a_table_too_wide_for_the_terminal_becomes_a_list() -> None:
    assert "  path " + LONG in at_terminal(80)
    assert "node   services    role" in [line.rstrip() for line in at_terminal(80)]


@pytest.mark.parametrize("columns", ["40", "80", "200"])
def test_without_a_terminal_no_line_is_broken_and_every_line_ends(columns: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SHOW], capture_output=True, text=True, env=os.environ | {"COLUMNS": columns}, check=True
    )
    lines = done.stdout.splitlines()
    assert done.stdout.endswith("\n")
    assert f"The whole log of this command is in {LONG} and stays there." in lines
    assert f"✓ pixel-data   1.2 s  12 images with the same pixels: {LONG}" in lines
    assert [line.split() for line in lines[5:7]] == [["node", "path", "role"], ["pacs1", LONG, "leader"]]
    assert done.stderr == f"✗ {LONG} cannot be read.\nCopy it.\n"


@pytest.mark.parametrize(
    ("columns", "lines"),
    [
        ("200", ["Settings", "primary  vip    192.0.2.10 -> 192.0.2.11", "         dicom  [104] -> [11112]"]),
        ("30", ["Settings", "primary", "  vip", "  192.0.2.10 -> 192.0.2.11", "  dicom", "  [104] -> [11112]"]),
    ],
)
def test_table_without_heads_has_no_empty_line_and_no_empty_column(
    columns: str, lines: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(output, "console", output.Lines(width=int(columns), force_terminal=True, color_system=None))
    rows = [("primary", "", "vip", "192.0.2.10 -> 192.0.2.11"), ("", "", "dicom", r"\[104] -> \[11112]")]
    output.print_table("Settings", (), rows)
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == lines


def test_column_without_a_value_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table("", ("node", "role", "free"), [("pacs1", "", "1 GiB"), ("pacs2", "", "2 GiB")])
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["node", "free"], ["pacs1", "1", "GiB"], ["pacs2", "2", "GiB"],
    ]  # fmt: skip

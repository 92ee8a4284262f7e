"""The result of the last run of each check, in a file of the node: `hapacs status` and the metrics read it."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from hapacs_node import log
from hapacs_node.errors import NodeError

_LOG = log.get("integrity")


class Check(StrEnum):
    """What is run; its name is also that of its file. The archive's own program reads replicas (role seaweedfs)."""

    RECONCILE = "reconcile"
    SCRUB = "scrub"
    REPLICAS = "replicas"
    MANIFEST = "manifest"


@contextmanager
def recorded(directory: Path | None, check: Check) -> Iterator[dict[str, Any]]:
    """Keep what the block puts into the dictionary as the result of a run, and write an event at its end.

    Parameters
    ----------
    directory : Path or None
        Where results are kept; None keeps none.
    check : Check
        What runs. The block sets ``open``, the number of faults that remain, and further values; what it does not set
        stays as the last run left it. A failure of the block is kept as ``failure``.
    """
    began, last = time.monotonic(), None if directory is None else read(directory, check)
    result: dict[str, Any] = {"open": 0} | (last or {}) | {"failure": None}
    try:
        yield result
    except Exception as error:
        result["failure"] = str(error) if isinstance(error, NodeError) else type(error).__name__
        raise
    finally:
        seconds = round(time.monotonic() - began, 1)
        about = {"check": check, "open": result["open"], "seconds": seconds, "failure": result["failure"]}
        _LOG.info(log.line("check_ended", **about))
        if directory is not None:
            _write(directory, check, result | {"ended_at": datetime.now(UTC).isoformat(), "seconds": seconds})


def read(directory: Path, check: Check) -> dict[str, Any] | None:
    """Return the result of the last run; None before the first one."""
    try:
        found: dict[str, Any] = json.loads(_file(directory, check).read_bytes())
    except (OSError, ValueError):
        return None
    return found


def _write(directory: Path, check: Check, result: Mapping[str, Any]) -> None:
    try:
        with NamedTemporaryFile("w", dir=directory, prefix=".", suffix=".json", delete=False, encoding="utf-8") as file:
            json.dump(result, file, default=str)
        # An operator runs as root, the timer as orthanc: each replaces the file of the other, and both read it.
        written = Path(file.name)
        written.chmod(0o644)
        written.replace(_file(directory, check))
    except OSError as error:
        _LOG.warning(log.line("result_not_kept", check=check, error=error))


def _file(directory: Path, check: Check) -> Path:
    return directory / f"{check}.json"

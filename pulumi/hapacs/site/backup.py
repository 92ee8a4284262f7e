"""Backups of a site's database at the node that keeps them: made, listed, and a restore rehearsed."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hapacs.errors import HapacsError, RefusedError
from hapacs.site import digests
from hapacs.site.access import Node, NodeError, Site
from hapacs.site.database import Database

TABLES: Mapping[str, Sequence[str]] = {
    "pacs": ("resources", "attachedfiles", "hapacs.object", "hapacs.instance", "hapacs.removal")
}
"""What a rehearsal counts: Orthanc's index and the catalog, by database."""
_CONFIGURATION, _STANZAS = "/etc/pgbackrest/backup.conf", "/etc/pgbackrest/stanzas"
_PROGRAMS, _BINARIES = "/usr/local/lib/hapacs", "/usr/lib/postgresql/17/bin"
_LIST_S = 60
# A full backup and a restore of ten million images' rows take hours.
_LONG_S = 24 * 3600
_ARCHIVED_WITHIN_S = 300
# Timelines share one count of segments (PostgreSQL, WAL file names). A new leader archives what its predecessor had of
# the last one as `.partial` first: that is not the segment.
_ARCHIVED = (
    "select coalesce(last_archived_wal ~ '^[0-9A-F]{{24}}$' "
    "and substr(last_archived_wal, 9) >= substr('{}', 9), false) from pg_stat_archiver"
)
_LAG = "select coalesce(extract(epoch from clock_timestamp() - last_archived_time)::text, '') from pg_stat_archiver"


@dataclass(frozen=True)
class Keeper:
    """The node that keeps the backups of a site's database.

    Attributes
    ----------
    site
        Whose database it is.
    home
        The site that the node belongs to.
    """

    site: Site
    home: Site
    node: Node

    @classmethod
    def of(cls, site: Site, sites: Sequence[Site]) -> Keeper:
        """Find it in the settings.

        Raises
        ------
        RefusedError
            When the site has no backups.
        """
        backup = site.contract.get("backup")
        if not backup:
            raise RefusedError(
                f"{site.name} has no backups.",
                f"Name a node of another site at sites.{site.name}.backup.host and run `hapacs up` "
                "(docs/operations/backup.md).",
            )
        home = next(one for one in sites if backup["host"] in one.nodes)
        return cls(site, home, home.nodes[backup["host"]])

    @property
    def stanza(self) -> str:
        """The database's name in the backups."""
        return f"{self.site.deployment.name}-{self.site.name}"

    @property
    def scratch(self) -> str:
        """Where the node rehearses."""
        return f"{self.home.contract['nodes'][self.node.name]['data_directory']}/pgbackrest-scratch"

    def run(self, unit: str, user: str, properties: Sequence[str], words: Sequence[str]) -> str:
        """Run a program with the rights of one of the backups' users, as a unit of its own, and return its output.

        Raises
        ------
        NodeError
            When it fails, or one runs already.
        """
        said = (*properties, f"User={user}", "Group=pgbackrest", "Nice=19", "NoNewPrivileges=yes", "UMask=0027",
                "ProtectSystem=strict", "PrivateTmp=yes", "LimitCORE=0")  # fmt: skip
        command = ["sudo", "systemd-run", "--quiet", "--wait", "--pipe", "--collect", f"--unit={unit}"]
        command += [*(f"--property={one}" for one in said), "--", *words]
        return self.home.run(self.node, [shlex.quote(word) for word in command], "", _LONG_S)


def listed(keeper: Keeper) -> list[dict[str, Any]]:
    """Return the backups, oldest first: label, kind, when they began and ended, and their sizes.

    Raises
    ------
    NodeError
        When the node does not answer.
    """
    words = ["sudo", "setpriv", "--reuid=pgbackrest", "--regid=pgbackrest", "--clear-groups", "pgbackrest"]
    words += [f"--config={_CONFIGURATION}", f"--stanza={keeper.stanza}", "--output=json", "info"]
    (said,) = json.loads(keeper.home.run(keeper.node, words, "", _LIST_S))
    return [
        {
            "label": one["label"],
            "type": one["type"],
            "began": one["timestamp"]["start"],
            "ended": one["timestamp"]["stop"],
            "database_bytes": one["info"]["size"],
            "kept_bytes": one["info"]["repository"]["delta"],
            "error": bool(one["error"]),
            "first_wal": one["archive"]["start"],
        }
        for one in said.get("backup", [])
    ]


def now(keeper: Keeper, kind: str) -> dict[str, Any]:
    """Make a backup and return it.

    Parameters
    ----------
    kind
        `full`, or `diff` for what changed since the last full one.

    Raises
    ------
    HapacsError
        When it failed, or one is being made.
    """
    properties = ("RuntimeDirectory=pgbackrest-backup", "RuntimeDirectoryMode=0750", "RuntimeDirectoryPreserve=yes",
                  f"ReadWritePaths={_repository(keeper)}")  # fmt: skip
    words = (f"{_PROGRAMS}/pgbackrest-backup", _CONFIGURATION, _STANZAS, kind, keeper.stanza)
    try:
        keeper.run("hapacs-backup-now", "pgbackrest", properties, words)
    except NodeError as error:
        raise HapacsError(
            f"No backup was made: {error.reason}.",
            f"`journalctl -u hapacs-backup-now -u pgbackrest-backup` on {keeper.node.name} says why.",
        ) from error
    return listed(keeper)[-1]


def rehearse(keeper: Keeper, show: Callable[[str], None]) -> dict[str, Any]:
    """Restore into a scratch cluster at the keeper, compare its rows with the live ones, and return a report.

    Rows that are stored meanwhile are no difference: a restored count lies between those before and after it.

    Raises
    ------
    HapacsError
        When no node leads, WAL does not arrive, or the restore fails.
    """
    database = Database.of(keeper.site)
    show("counting the live rows")
    (lag,) = database.rows(_LAG)
    asked = _statements(database)
    before, digests_before = _counts(database), _digests(database, asked)
    show("waiting until they are archived")
    archive(database)
    show(f"restoring on {keeper.node.name}")
    words = (f"{_PROGRAMS}/pgbackrest-rehearse", _CONFIGURATION, keeper.stanza, keeper.scratch, _BINARIES,
             json.dumps({name: list(tables) for name, tables in TABLES.items()}),
             json.dumps({"pacs": asked}))  # fmt: skip
    # Without a network the scratch cluster reaches nobody, whatever its copied settings say.
    properties = ("PrivateNetwork=yes", f"ReadWritePaths={keeper.scratch}")
    try:
        # What was written into the database may run with the rights of this user: it changes no backup.
        printed = keeper.run("hapacs-rehearse", "pgbackrest-scratch", properties, words)
    except NodeError as error:
        raise HapacsError(
            f"The restore failed: {error.reason}.", f"`journalctl -u hapacs-rehearse` on {keeper.node.name} says why."
        ) from error
    report = json.loads(printed.splitlines()[-1])
    show("counting the live rows again")
    found = _compared(keeper, report, before, _counts(database))
    digests_after = _digests(database, asked)
    compared = {
        table: digests.compared(digests_before[table], report["digests"]["pacs"][table], digests_after[table])
        for table in asked
    }
    return found | {
        "ok": found["ok"] and all(one["ok"] for one in compared.values()),
        "digests": compared,
        "rpo_s": round(float(lag), 1) if lag else None,
    }


def _statements(database: Database) -> dict[str, str]:
    # Orthanc's row of an image comes after the catalog's. One that comes after the first look and is gone before the
    # last one, as with what the probe stores and removes, would look like a row that the restored database has alone.
    (settled,) = database.rows("select clock_timestamp() - interval '1 minute'")
    return digests.statements(settled)


def _digests(database: Database, asked: Mapping[str, str]) -> dict[str, list[str]]:
    return {table: database.rows(statement, _LONG_S) for table, statement in asked.items()}


def _compared(
    keeper: Keeper, report: Mapping[str, Any], before: Mapping[str, int], after: Mapping[str, int]
) -> dict[str, Any]:
    restored = {table: rows for tables in report["rows"].values() for table, rows in tables.items()}
    counts = {
        table: {
            "before": before[table],
            "restored": restored[table],
            "after": after[table],
            "ok": min(before[table], after[table]) <= restored[table] <= max(before[table], after[table]),
        }
        for table in before
    }
    return {
        "node": keeper.node.name,
        "ok": all(one["ok"] for one in counts.values()),
        "counts": counts,
        "rto_s": report["recovered_s"],
        **{name: report[name] for name in ("restore_s", "bytes", "mb_per_s", "last_commit")},
    }


def _counts(database: Database) -> dict[str, int]:
    tables = TABLES["pacs"]
    rows = database.rows("\n".join(f"select count(*) from {table};" for table in tables), _LONG_S)  # noqa: S608 - ours
    return dict(zip(tables, map(int, rows), strict=True))


def archive(database: Database) -> None:
    """Have the current WAL segment archived.

    Raises
    ------
    HapacsError
        When it does not arrive: a backup without its WAL is no use.
    """
    # At the beginning of a segment there would be nothing to switch.
    (segment,) = database.rows("select pg_walfile_name(pg_create_restore_point('hapacs rehearsal') - 1)")
    database.rows("select pg_switch_wal()")
    deadline = time.monotonic() + _ARCHIVED_WITHIN_S
    while database.rows(_ARCHIVED.format(segment)) != ["t"]:
        if time.monotonic() > deadline:
            raise HapacsError(
                f"WAL {segment} did not arrive within {_ARCHIVED_WITHIN_S} s.",
                f"`journalctl -u patroni` on {database.leader.name} says why.",
            )
        time.sleep(1)


def _repository(keeper: Keeper) -> str:
    return f"{keeper.home.contract['nodes'][keeper.node.name]['data_directory']}/pgbackrest"

"""Runs SQL on the leader of a site's database, as its superuser, over SSH."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from hapacs.errors import HapacsError
from hapacs.site.access import Node, NodeError, Site

_PSQL = (
    "sudo", "--user=postgres", "psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align",
    "--set=ON_ERROR_STOP=1", "--dbname=pacs",
)  # fmt: skip


@dataclass(frozen=True)
class Database:
    """The site's database, through the node that led it when it was asked."""

    site: Site
    leader: Node

    @classmethod
    def of(cls, site: Site) -> Database:
        """Find the leader.

        Raises
        ------
        HapacsError
            When no node leads.
        """
        for node in site.members("postgres"):
            database = cls(site, node)
            # A node that does not answer does not lead.
            with suppress(NodeError):
                if database.rows("select not pg_is_in_recovery()") == ["t"]:
                    return database
        raise HapacsError(f"No node of {site.name} leads the database.", "`hapacs status` says more.")

    def rows(self, sql: str, timeout_s: float = 60) -> list[str]:
        """Run statements and return the rows they give, columns separated by ``|``."""
        return self.site.run(self.leader, _PSQL, sql, timeout_s).splitlines()


def literal(text: str) -> str:
    """Write a string for SQL."""
    return "'" + text.replace("'", "''") + "'"

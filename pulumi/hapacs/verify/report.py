"""Result of a verification."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hapacs.errors import HapacsError


@dataclass(frozen=True)
class Check:
    """Result of one check.

    Attributes
    ----------
    detail
        Evidence; for a failed check the problem and where to look.
    seconds
        Duration of the check.
    """

    name: str
    ok: bool
    detail: str
    seconds: float = field(default=0, compare=False)


OnCheck = Callable[[Check], None]


@dataclass(frozen=True)
class Report:
    """All checks, in their order."""

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether all checks passed; False for a report without a check."""
        return bool(self.checks) and all(check.ok for check in self.checks)

    def document(self) -> dict[str, Any]:
        """Describe it for JSON."""
        checks = [{"name": check.name, "ok": check.ok, "detail": check.detail} for check in self.checks]
        return {"ok": self.ok, "checks": checks}


class CheckFailedError(HapacsError):
    """A check failed."""


def listed(problems: list[str], shown: int = 4) -> str:
    """Join the first few problems, and say how many more there are."""
    more = f"; and {len(problems) - shown} more" if len(problems) > shown else ""
    return "; ".join(problems[:shown]) + more


def require(problems: list[str]) -> None:
    """Fail when there are problems.

    Raises
    ------
    CheckFailedError
        Names the first few problems.
    """
    if problems:
        raise CheckFailedError(listed(problems))

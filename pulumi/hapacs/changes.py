"""Differences between a deployment and its settings: machines, and values of the inventory contract."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

NOT_MADE_YET = "/not-made-yet"
"""In the contract of a preview: a device or a value that only `hapacs up` will know."""

# Lists of mappings are compared by the field that names their elements.
_NAMES = ("ae_title", "path")
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


@dataclass(frozen=True)
class Change:
    """One resource that the engine would change or has changed.

    Parameters
    ----------
    operation
        ``create``, ``update``, ``delete``, ``replace``...
    kind, name
        Type and name of the resource.
    properties
        The properties that differ.
    values
        Present and future value of each property; None when only `hapacs up` will know it.
    """

    operation: str
    kind: str
    name: str
    properties: tuple[str, ...] = ()
    values: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)

    @property
    def difference(self) -> str:
        """The difference as text for the operator."""
        return "; ".join(
            f"{key}: {_text(key, values)}" if values[1] is not None else key for key, values in self.values.items()
        )


@dataclass(frozen=True)
class SettingChange:
    """One value of the inventory contract that differs from the last `hapacs up`.

    Parameters
    ----------
    path
        From the top of the contract, such as ``("sites", "primary", "policy", "retention_days")``.
    before, after
        The two values; None where the contract has no such value.
    """

    path: tuple[str, ...]
    before: Any
    after: Any

    @property
    def difference(self) -> str:
        """The difference as text for the operator."""
        return _text(self.path[-1], (self.before, self.after))


@dataclass(frozen=True)
class Changes:
    """All changes that `hapacs up` would make or has made before the roles run.

    Parameters
    ----------
    contract
        The inventory contract of the settings as they are now.
    machines
        Resources that the engine makes, changes or removes.
    settings
        Differences between `contract` and that of the last successful `hapacs up`; None before the first one.
    consequences
        What happens to stored data, in sentences.
    """

    contract: Mapping[str, Any]
    machines: Sequence[Change] = ()
    settings: Sequence[SettingChange] | None = ()
    consequences: Sequence[str] = ()

    @property
    def unreachable(self) -> list[str]:
        """The nodes that can't be asked yet, because `hapacs up` makes or changes their machines first."""
        changed = {change.name for change in self.machines}
        return [node for site in self.contract["sites"].values() for node in site["nodes"] if node in changed]


def compare(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[SettingChange]:
    """Return the differences of two contracts, in the order of their fields."""
    return list(_compare((), before, after))


def _compare(path: tuple[str, ...], before: Any, after: Any) -> Iterator[SettingChange]:
    before, after = _keyed(before), _keyed(after)
    if isinstance(before, Mapping) and after == []:
        after = {}
    if isinstance(after, Mapping) and before == []:
        before = {}
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in dict.fromkeys([*after, *before]):
            yield from _compare((*path, key), before.get(key), after.get(key))
    elif before != after:
        yield SettingChange(path, before, after)


def _keyed(value: Any) -> Any:
    """Return a list of named mappings as a mapping by these names, and any other value unchanged."""
    if isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
        for name in _NAMES:
            if all(name in item for item in value):
                return {item[name]: item for item in value}
    return value


def rows(changes: Sequence[SettingChange]) -> list[tuple[str, str, str]]:
    """Return changes for people: sites, setting, difference. Equal ones of several groups and sites are one row."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for change in changes:
        site, path = (change.path[1], change.path[2:]) if change.path[0] == "sites" else ("", change.path)
        setting, group = ("members of ", path[1]) if path[:1] == ("members",) else (".".join(path) or "site", "")
        groups.setdefault((site, setting, change.difference), []).append(group)
    sites: dict[tuple[str, str], list[str]] = {}
    for (site, setting, difference), names in groups.items():
        sites.setdefault((setting + ", ".join(names), difference), []).append(site)
    return [(", ".join(names), setting, difference) for (setting, difference), names in sites.items()]


def _text(name: str, values: tuple[Any, Any]) -> str:
    before, after = values
    if before is None:
        return f"added: {_value(name, after)}"
    if after is None:
        return f"removed (was {_value(name, before)})"
    if isinstance(before, list) and isinstance(after, list):
        added = [f"+ {_value(name, item)}" for item in after if item not in before]
        removed = [f"- {_value(name, item)}" for item in before if item not in after]
        if added or removed:
            return "  ".join([*added, *removed])
    return f"{_value(name, before)} -> {_value(name, after)}"


def _value(name: str, value: Any) -> str:
    """Write a value on one line: of mappings inside it only the names."""
    if isinstance(value, Mapping):
        # What is off is not said: a new caller would have a list of what it does not do.
        parts = [
            (key, _value(key, _keyed(item))) for key, item in value.items() if key not in _NAMES and item is not False
        ]
        return ", ".join(f"{key} {text.replace(', ', '/')}" for key, text in parts if text)
    if isinstance(value, list):
        return ", ".join(text for item in value if (text := _value(name, item)))
    if value == NOT_MADE_YET:
        return ""
    if name.endswith("_bytes") and isinstance(value, (int, float)):
        return size(value)
    return str(value)


def size(count: float) -> str:
    """Write a number of bytes with the unit that fits."""
    value, unit = float(count), 0
    while value >= 1024 and unit < len(_UNITS) - 1:  # noqa: PLR2004
        value, unit = value / 1024, unit + 1
    return f"{value:.1f} {_UNITS[unit]}" if value % 1 else f"{value:.0f} {_UNITS[unit]}"

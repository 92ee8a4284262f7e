"""Filter `firewall_rules`: from the table of who may reach what to the rules of one node."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleFilterError


def firewall_rules(
    table: list[dict[str, Any]],
    groups: list[str],
    members: dict[str, list[dict[str, Any]]],
    networks: dict[str, list[str]],
) -> list[dict[str, Any]]:
    """Return the rules that apply to a node.

    Parameters
    ----------
    table
        Rows with ``to`` (the group whose nodes are reached), ``ports`` (TCP) or ``protocol`` (such as vrrp), and
        ``from`` (names of groups or of `networks`).
    groups
        Those that the node is in; ``all`` is always meant too.
    members
        The site's nodes by group, each with an ``address``.
    networks
        Named lists of networks, CIDR.

    Returns
    -------
    list of dict
        ``comment``, ``match`` (of nftables) and sorted ``sources``; rows without a source for this site are left out.

    Raises
    ------
    AnsibleFilterError
        When a row names a source that is neither a group nor a network.
    """
    rules = []
    for row in table:
        if row["to"] != "all" and row["to"] not in groups:
            continue
        sources: set[str] = set()
        for name in row["from"]:
            if name in networks:
                sources.update(networks[name])
            elif name in members:
                sources.update(member["address"] for member in members[name])
            else:
                raise AnsibleFilterError(f"firewall: '{name}' is neither a group of the site nor one of its networks")
        if not sources:
            continue
        ports = ", ".join(str(port) for port in row.get("ports", []))
        match = f"tcp dport {{ {ports} }}" if ports else f"ip protocol {row['protocol']}"
        rules.append(
            {"comment": f"{row['to']} from {', '.join(row['from'])}", "match": match, "sources": sorted(sources)}
        )
    return rules


class FilterModule:
    """What Ansible asks for."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by name."""
        return {"firewall_rules": firewall_rules}

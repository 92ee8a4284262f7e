"""A site that runs, as its nodes describe it: who leads, whether it can spare a node, and who would take over.

``{states, members, vip}``: `states` holds for each node what `hapacs.site.node_facts` returned, or nothing when the
node did not answer; `members` are the site's nodes by group, and `vip` is the virtual address.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from hapacs.site.units import UNITS, masters

STREAMS = {"running", "streaming"}
SYNCHRONOUS = {"sync_standby", "quorum_standby"}
IN_SERVICE = "UP"


class RunningSite:
    """One site as its nodes describe it.

    Parameters
    ----------
    plain
        ``{states, members, vip}``, see above.
    """

    def __init__(self, plain: dict[str, Any]) -> None:
        self.states: dict[str, dict[str, Any]] = {name: state or {} for name, state in plain["states"].items()}
        self.members = {group: [node["name"] for node in nodes] for group, nodes in plain["members"].items()}
        self._nodes = {node["name"]: node for nodes in plain["members"].values() for node in nodes}
        self._vip = plain["vip"]

    @property
    def drained(self) -> list[str]:
        """Nodes that carry the mark."""
        return [name for name, state in self.states.items() if state.get("drained")]

    def saying(self, key: str) -> list[str]:
        """Return the nodes that say yes to something."""
        return [name for name, state in self.states.items() if state.get(key)]

    @property
    def leaders(self) -> list[str]:
        """Nodes whose PostgreSQL takes writes: one, when all is well."""
        return self.saying("leads")

    @property
    def holders(self) -> list[str]:
        """Nodes with the virtual address: one, when all is well."""
        return [name for name, state in self.states.items() if self._vip in state.get("addresses", ())]

    def balancer(self) -> dict[str, Any]:
        """Return what the balancer with the address says; it is the one that counts."""
        return (self.states[self.holders[0]].get("balancer") or {}) if self.holders else {}

    def writers(self) -> list[str]:
        """Return whom it has chosen to store; nobody until something was stored."""
        return list(self.balancer().get("writers", ()))

    def etcd_leader(self) -> str:
        """Return the node whose member leads etcd, by what the others say too."""
        for state in self.states.values():
            for entry in (state.get("etcd") or {}).get("status", ()):
                if entry["Status"]["leader"] == entry["Status"]["header"]["member_id"]:
                    return self._at(entry["Endpoint"])
        return ""

    def etcd_ids(self) -> dict[str, str]:
        """Return the members' numbers, hexadecimal as etcdctl takes them, by node."""
        return {
            self._at(entry["Endpoint"]): f"{entry['Status']['header']['member_id']:x}"
            for state in self.states.values()
            for entry in (state.get("etcd") or {}).get("status", ())
        }

    def _at(self, endpoint: str) -> str:
        address = endpoint.partition("://")[2].rpartition(":")[0]
        return next((name for name, node in self._nodes.items() if node["address"] == address), "")

    def cluster(self) -> dict[str, dict[str, Any]]:
        """Return the members of the database cluster as its leader's Patroni, else any other one, sees them."""
        for name in [*self.leaders, *self.states]:
            if found := (self.states[name].get("patroni") or {}).get("members"):
                return {member["name"]: member for member in found}
        return {}

    def zones(self, names: Iterable[str]) -> set[str]:
        """Return the zones of some nodes."""
        return {str(self._nodes[name].get("zone", "")) for name in names}

    def trouble(self, leaving: str = "") -> list[str]:
        """Say what keeps the site from being whole, and what to do; what ails a node that leaves is its own affair."""
        found: list[str] = []
        for name, state in self.states.items():
            if not state:
                found.append(
                    f"{name} does not answer by SSH: switch it on or mend its network, and wait until `hapacs status` "
                    "shows its services"
                )
            elif name != leaving:
                found += self.ill(name, state)
        found += self._database_trouble(leaving)
        if len(self.holders) != 1:
            found.append(
                f"{self._vip} is held by {', '.join(self.holders) or 'no node'} instead of one: `journalctl -u "
                "keepalived` on the balancers"
            )
        return found

    @staticmethod
    def ill(name: str, state: dict[str, Any]) -> list[str]:
        """Say what ails a node that answers."""
        found = [
            f"{unit} on {name} is {one['state']}: `journalctl -u {unit}` there; `hapacs up` starts what should run"
            for unit, one in state["units"].items()
            if not one["active"]
        ]
        found += [f"seaweedfs-{daemon} on {name}: {what}" for daemon, what in state["seaweedfs"].items() if what]
        found += [
            f"orthanc-{service} on {name} can't work, {what}: `journalctl -u orthanc-{service}` there"
            for service, what in state["orthanc"].items()
            if what
        ]
        ill = [entry["endpoint"] for entry in (state.get("etcd") or {}).get("health", ()) if not entry.get("health")]
        return found + [
            f"etcd at {endpoint} is not healthy, says {name}: `journalctl -u etcd` there" for endpoint in ill
        ]

    def _database_trouble(self, leaving: str) -> list[str]:
        expected, found = self.members.get("postgres", []), []
        if not expected:
            return []
        if len(self.leaders) != 1:
            found.append(f"{', '.join(self.leaders) or 'no node'} takes writes instead of one: `patronictl list` there")
        cluster = self.cluster()
        for name in expected:
            state = cluster.get(name, {}).get("state", "missing")
            if state not in STREAMS and name != leaving and self.states.get(name):
                found.append(
                    f"the database on {name} is {state}: wait until `patronictl -c /etc/patroni/hapacs.yml list` there "
                    "shows it streaming"
                )
        if len(expected) > 1 and not self.standbys(leaving):
            found.append(
                "no standby is synchronous: a change of the leader could lose what was acknowledged. Wait until "
                "`patronictl list` shows a Quorum Standby"
            )
        return found

    def standbys(self, *leaving: str) -> list[str]:
        """Return who may lead the database next, the least behind first."""
        able = [
            member
            for member in self.cluster().values()
            if member["role"] in SYNCHRONOUS
            and member["state"] in STREAMS
            and member["name"] not in {*leaving, *self.drained}
            and not member.get("tags", {}).get("nofailover")
        ]
        # The lag of one that just came back can be a word.
        return [m["name"] for m in sorted(able, key=lambda m: m["lag"] if isinstance(m.get("lag"), int) else 0)]

    def writers_to_be(self, *leaving: str) -> list[str]:
        """Return who may store next: healthy, and up for the balancer with the address."""
        servers = self.balancer().get("servers", {}).get("store_dicom", {})
        return [
            name
            for name in self.members.get("pacs", ())
            if name not in {*leaving, *self.drained}
            and servers.get(name, {}).get("status", "").startswith(IN_SERVICE)
            and self.states[name].get("orthanc", {}).get("store") == ""
        ]

    def without(self, node: str) -> list[str]:
        """Say why the site can't do without a node, and without those that are drained already."""
        away = {node, *self.drained}
        left = {group: [name for name in names if name not in away] for group, names in self.members.items()}
        here = [group for group, names in self.members.items() if node in names]
        lonely = [group for group in here if group != "monitoring" and not left[group]]
        others = sorted(away - {node})
        hint = f"Undrain {', '.join(others)} first" if others else "A site can spare a node from three nodes on"
        if lonely:
            return [f"{node} is the last one in service of {', '.join(lonely)}: nobody could take over. {hint}"]
        found = []
        if "etcd" in here and 2 * len(left["etcd"]) <= len(self.members["etcd"]):
            found.append(f"without {', '.join(sorted(away))} etcd has no majority once they are off. {hint}")
        if "postgres" in here and len(self.members["postgres"]) > 1 and not len(left["postgres"]) > 1:
            found.append(f"without {', '.join(sorted(away))} no second database confirms what is stored. {hint}")
        cas = self.members.get("cas", [])
        if "cas" in here and len(self.zones(cas)) > 1 and not len(self.zones(left["cas"])) > 1:
            found.append(f"without {', '.join(sorted(away))} the archive has one zone left for its two copies. {hint}")
        return found


def view(site: RunningSite) -> dict[str, Any]:
    """Return who leads what (an empty text when nobody does), who is drained, and who is paused without being drained.

    The latter are left over from a run that was cut off: a balancer gives them nothing.
    """
    paused = {
        name
        for state in site.states.values()
        for servers in (state.get("balancer") or {}).get("servers", {}).values()
        for name, server in servers.items()
        if server["paused"]
    }
    return {
        "database": next(iter(site.leaders), ""),
        "etcd": site.etcd_leader(),
        "etcd_ids": site.etcd_ids(),
        "archive": next(iter(site.saying("archive_leads")), ""),
        "stores": next(iter(site.writers()), ""),
        "address": next(iter(site.holders), ""),
        "drained": site.drained,
        "paused": sorted(paused - set(site.drained)),
        "masters": list(masters(site.members.get("cas", []))),
    }


def drain_refusals(site: RunningSite, node: str) -> list[str]:
    """Say why a node can't be drained now."""
    if not site.states[node]:
        return [f"{node} does not answer: what it did has moved already. Bring it back first, then drain it"]
    return site.without(node) or site.trouble(leaving=node)


def undrain_refusals(site: RunningSite, node: str) -> list[str]:
    """Say why a node can't be taken back into service now. Others may be off: this is what brings room back."""
    state = site.states[node]
    return site.ill(node, state) if state else [f"{node} does not answer by SSH: switch it on first"]


def switchover_refusals(site: RunningSite, what: str, node: str) -> list[str]:
    """Say why nobody, or not this node, can take over."""
    group, able, now = (
        ("postgres", site.standbys(), site.leaders)
        if what == "database"
        else ("pacs", site.writers_to_be(), site.writers())
    )
    members = site.members.get(group, [])
    if node and node not in members:
        return [f"{node} is not in the group {group}; there are {', '.join(members)}"]
    if len(members) == 1:
        return [f"the group {group} of this site has one node: there is nobody to switch over to"]
    if found := site.trouble():
        return found
    if node and node not in [*able, *now]:
        why = "it is drained: undrain it first" if node in site.drained else "it is not fit; `hapacs verify` says more"
        return [f"{node} can't take over, {why}. Fit are: {', '.join(able) or 'none'}"]
    return [] if node or able else ["nobody is fit to take over; `hapacs status` and `hapacs verify` say more"]


def refusals(site: RunningSite, verb: str, node: str) -> list[str]:
    """Return why a thing must not be done now, each with what to do first; nothing when it may be done.

    Parameters
    ----------
    verb
        ``whole`` (anything rolling), ``drain``, ``undrain``, ``switchover-database`` or ``switchover-storing``.
    node
        Whom it is about; for a switchover who takes over, or nobody in particular.

    Raises
    ------
    ValueError
        When there is no such verb.
    """
    if node and node not in site.states:
        return [f"there is no node {node}; there are {', '.join(sorted(site.states))}"]
    checks: dict[str, Callable[[], list[str]]] = {
        "whole": site.trouble,
        "drain": lambda: drain_refusals(site, node),
        "undrain": lambda: undrain_refusals(site, node),
        "switchover-database": lambda: switchover_refusals(site, "database", node),
        "switchover-storing": lambda: switchover_refusals(site, "storing", node),
    }
    if verb not in checks:
        raise ValueError(f"there is no {verb!r}; there are {', '.join(checks)}")
    return checks[verb]()


def heir(site: RunningSite, what: str, leaving: Iterable[str]) -> str:
    """Return who takes over the lead of the ``database``, of ``storing`` or of ``etcd``, or nothing."""
    if what == "database":
        able = site.standbys(*leaving)
    elif what == "storing":
        able = site.writers_to_be(*leaving, *site.writers())
    else:
        # Beside the database's leader only when nobody else is left: the death of one node then costs one election.
        good = [name for name in site.etcd_ids() if name not in {*leaving, *site.drained}]
        able = sorted(good, key=lambda name: name in site.leaders)
    return next(iter(able), "")


def order(site: RunningSite) -> list[str]:
    """Return the nodes in the order in which they are touched: the less depends on one, the sooner."""
    leads, weight = view(site), {"database": 8, "archive": 4, "stores": 2, "address": 1}
    return sorted(site.states, key=lambda name: sum(value for lead, value in weight.items() if leads[lead] == name))


def archive_units(cas: list[str], node: str) -> list[str]:
    """Return the daemons of the archive on a node, in the order in which they are started."""
    if node not in cas:
        return []
    return [*(["seaweedfs-master"] if node in masters(cas) else []), *UNITS["cas"]]


def leads_of(units: Iterable[str]) -> list[str]:
    """Return what a node has to hand over before units of it are restarted."""
    needs = {
        "etcd": ["etcd"],
        "patroni": ["database"],
        # The archive's lead lies beside the database's; moved alone it would come back, and cost its stall twice.
        "seaweedfs-master": ["database"],
        "orthanc-store": ["store"],
        "orthanc-query": ["query"],
        "orthanc-tls": ["store", "query"],
        "haproxy": ["address"],
    }
    return sorted({lead for unit in units for lead in needs.get(unit.removesuffix(".service"), [])})

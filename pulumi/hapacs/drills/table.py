"""All drills, each declared once. A fault on a node also has its playbook, ``ansible/playbooks/drill_<name>.yml``."""

from __future__ import annotations

from collections.abc import Iterable

from hapacs.drills.model import Drill, InARow, OnNode, OtherSite, PowerOff, Restart, Switchover
from hapacs.errors import UsageError

DRILLS: tuple[Drill, ...] = (
    Drill("storing-killed", "The storing service is killed.", "storing", hold_s=15, production=True),
    Drill("storing-paused", "The storing service is stopped by SIGSTOP: it answers nothing.", "storing"),
    Drill("storing-off", "The storing node loses its power.", "storing", PowerOff("storing"), apart=True),
    Drill(
        "storing-cut-off", "The storing node is cut off from the other nodes, not from clients.", "storing", apart=True
    ),
    Drill(
        "storing-deaf", "The storing node is heard by the other nodes and does not hear them.", "storing", apart=True
    ),
    Drill(
        "address-off", "The node with the virtual address loses its power.", "entry", PowerOff("address"), apart=True
    ),
    Drill("balancer-paused", "The balancer with the virtual address is stopped by SIGSTOP.", "entry"),
    Drill("database-leader-killed", "Patroni and PostgreSQL of the leader are killed.", "database", hold_s=20),
    Drill("database-leader-paused", "Patroni and PostgreSQL of the leader are stopped by SIGSTOP.", "database"),
    Drill("patroni-paused", "Patroni of the leader is stopped by SIGSTOP, and its PostgreSQL goes on.", "database"),
    Drill("database-leader-off", "The database leader's node loses its power.", "database", PowerOff("database")),
    Drill("database-leader-cut-from-etcd", "The database's leader reaches no other etcd.", "database"),
    Drill("database-answers-lost", "A COMMIT is applied and its answer never comes.", "database", hold_s=30),
    Drill("etcd-leader-paused", "The leader of etcd is stopped by SIGSTOP.", "database"),
    Drill("etcd-member-off", "A member of etcd that does not lead is stopped.", "database"),
    Drill("archive-volume-killed", "A volume server of the archive is killed.", "archive", hold_s=15),
    Drill("archive-volume-paused", "A volume server of the archive is stopped by SIGSTOP.", "archive"),
    Drill("archive-filer-killed", "The archive's filer on the storing node is killed.", "archive", hold_s=15),
    Drill("archive-filer-paused", "The archive's filer on the storing node is stopped by SIGSTOP.", "archive"),
    Drill("archive-gateway-killed", "The archive's gateway on the storing node is killed.", "archive", hold_s=15),
    Drill("archive-gateway-paused", "The archive's gateway on the storing node is stopped by SIGSTOP.", "archive"),
    Drill("archive-gateway-denies", "A gateway of the archive answers 404 for objects that exist.", "archive"),
    Drill("archive-master-killed", "The archive's leading master is killed.", "archive"),
    Drill("archive-master-paused", "The archive's leading master is stopped by SIGSTOP.", "archive"),
    Drill("node-off-and-back", "A node is off for 90 s and comes back.", "entry", PowerOff("spare"), 90),
    Drill(
        "two-nodes-off",
        "Two of three nodes are off: every store is refused.",
        "database",
        PowerOff("spare", 2),
        60,
        refuses=True,
    ),
    Drill(
        "node-off-leader-killed",
        "A node is off, and the database's leader is killed on another one.",
        "database",
        InARow(PowerOff("spare"), "drill_database_leader_killed"),
        60,
    ),
    Drill("other-site-off", "The other site loses its power and comes back.", "data", OtherSite("off"), 60),
    Drill("other-site-cut", "The line to the other site is cut and comes back.", "data", OtherSite("cut"), 60),
    Drill("link-slow", "What the storing node sends to the others takes 200 ms longer.", "storing"),
    Drill("link-lossy", "Of the packets between the storing node and the others, 5 % are lost.", "storing"),
    Drill("certificate-expired", "The certificate of the storing node's Orthancs ends.", "storing", hold_s=120),
    Drill("clock-off", "The clock of the storing node is wrong by 10 minutes.", "data", OnNode(own_clock=True), 60),
    Drill("das-byte-flipped", "One byte of an image on a DAS changes.", "data", OnNode(of_image=True), 15),
    Drill("archive-byte-flipped", "One byte of a replica in the archive changes.", "data", OnNode(of_image=True), 15),
    Drill("tombstone-referred", "The index refers to an image that the catalog has as removed.", "data", hold_s=30),
    Drill("das-stray-bytes", "Bytes are on a DAS that no row of the catalog names.", "data", hold_s=30),
    Drill("das-full", "The DAS of the storing node is full.", "data"),
    Drill("das-lost", "The disks of the storing node's DAS are gone.", "data"),
    Drill("das-replaced", "The storing node's DAS is replaced by an empty one.", "data"),
    Drill("das-read-only", "The DAS of the storing node takes no writes.", "data"),
    Drill("das-read-errors", "The images on the DAS of the storing node can't be read.", "data"),
    Drill("archive-full", "The disk of the storing node's volume server is full.", "data", hold_s=100),
    Drill("database-switchover", "Another node leads the database.", "planned", Switchover("database"), 10, True),
    Drill("storing-switchover", "Another node stores, as planned.", "planned", Switchover("storing"), 10, True),
    Drill(
        "address-switchover", "Another node holds the address, as planned.", "planned", Switchover("address"), 10, True
    ),
    Drill(
        "storing-restarted", "The storing service restarts, node after node.", "planned", Restart("orthanc-store"), 10
    ),
)


def named(names: Iterable[str]) -> list[Drill]:
    """Return the drills of these names, in the given order.

    Raises
    ------
    UsageError
        When there is none of a name.
    """
    known = {drill.name: drill for drill in DRILLS}
    if unknown := [name for name in names if name not in known]:
        raise UsageError(f"There is no drill {', '.join(unknown)}.", "`hapacs drill list` lists them.")
    return [known[name] for name in names]

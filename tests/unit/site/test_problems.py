"""One set of judgements: whatever is wrong with a site is found, with the node that has it and what to do."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from hapacs.site.problems import BLOCKING, Subject, blocking_problems, node_problems, site_problems
from hapacs.site.running import RunningSite
from tests.unit.site.documents import BREAK, NAMES, VIP, drain, plain

# For each way to break a site: the subject, the node, and how the message begins.
EXPECTED = {
    "node off": (Subject.NODE, "c", "c does not answer by SSH (no route to host)"),
    "unit": (Subject.UNIT, "c", "etcd on c is failed (failed)"),
    "orthanc": (Subject.HEALTH, "c", "orthanc-store on c does not work: its health is answered 503"),
    "archive": (Subject.HEALTH, "c", "seaweedfs-volume on c does not work: no answer"),
    "etcd": (Subject.ETCD, "c", "etcd on c does not commit"),
    "two etcd leaders": (Subject.ETCD, "", "etcd has 2 leaders instead of one"),
    "etcd silent": (Subject.ETCD, "c", "etcd on c does not answer: context deadline exceeded"),
    "two leaders": (Subject.DATABASE, "", "a, c takes writes instead of exactly one"),
    "postgres silent": (Subject.DATABASE, "c", "PostgreSQL on c does not answer"),
    "patroni silent": (Subject.DATABASE, "c", "Patroni on c does not answer: refused"),
    "other leader named": (Subject.DATABASE, "c", "Patroni on c names a, b as leader of the database, but a takes"),
    "standby": (Subject.DATABASE, "c", "the database on c is stopped"),
    "member missing": (Subject.DATABASE, "c", "the database on c is missing from its cluster"),
    "no synchronous standby": (Subject.DATABASE, "", "no standby is synchronous"),
    "no address": (Subject.ADDRESS, "", f"{VIP} is held by no node instead of one node"),
    "two addresses": (Subject.ADDRESS, "", f"{VIP} is held by b, c instead of one node"),
    "balancer": (Subject.BALANCER, "c", "HAProxy on c does not answer: connection refused"),
    "other unit": (Subject.OTHER_UNIT, "c", "logrotate.service on c has failed"),
    "firewall": (Subject.FIREWALL, "c", "the firewall of c is not loaded"),
    "database disk": (Subject.DATABASE_DISK, "c", "the disk of the database on c has 9.0 of 100.0 GiB free"),
    "das": (Subject.DAS, "c", "/srv/das on c is not mounted"),
    "certificate": (Subject.CERTIFICATE, "c", "/etc/etcd/tls/server.crt on c has ended (2020-01-01 00:00:00Z)"),
    "unreadable certificate": (Subject.CERTIFICATE, "c", "/etc/etcd/tls/server.crt on c has ended (unreadable)"),
    "paused": (Subject.PAUSED, "c", "a balancer sends nothing to c, although it is not drained"),
    "two writers": (Subject.WRITER, "", "the balancers have chosen b, c to store instead of one node"),
    "no association": (Subject.STORING, "", f"the next image would be refused: C-ECHO to {VIP} fails: no answer"),
    "writer down": (Subject.WRITER, "b", "b is chosen to store, but b does not find it up"),
    "faults": (Subject.INTEGRITY, "c", "the last reconcile on c left 7 faults of images"),
    "check failed": (Subject.INTEGRITY, "c", "the last scrub on c did not complete: no gateway answers"),
    "check late": (Subject.INTEGRITY, "c", "scrub on c has not run since "),
    "no check yet": (Subject.INTEGRITY, "c", "reconcile on c has not run since "),
}


def broken(*ways: str) -> RunningSite:
    site = plain(*NAMES)
    for way in ways:
        BREAK[way](site)
    return RunningSite.parse(site)


def test_healthy_site_has_no_problems() -> None:
    assert site_problems(RunningSite.parse(plain(*NAMES))) == []
    assert site_problems(RunningSite.parse(drain(plain(*NAMES), "c"))) == []


def test_each_subject_is_tried() -> None:
    assert BREAK.keys() == EXPECTED.keys()
    assert {subject for subject, _, _ in EXPECTED.values()} == set(Subject)


@pytest.mark.parametrize("way", list(BREAK))
def test_problem_names_subject_node_and_remedy(way: str) -> None:
    subject, node, message = EXPECTED[way]
    found = [one for one in site_problems(broken(way)) if one.message.startswith(message)]
    assert [(one.subject, one.node) for one in found] == [(subject, node)]
    assert found[0].remedy
    assert str(found[0]) == f"{found[0].message}: {found[0].remedy}"


@pytest.mark.parametrize("way", list(BREAK))
def test_problem_of_a_node_is_found_when_the_node_alone_is_judged(way: str) -> None:
    site = broken(way)
    for name in NAMES:
        expected = {one for one in site_problems(site) if one.node == name}
        assert set(node_problems(site, name)) == expected


@pytest.mark.parametrize("way", list(BREAK))
def test_only_blocking_subjects_forbid_an_operation(way: str) -> None:
    subject, node, _ = EXPECTED[way]
    found = {one.subject for one in blocking_problems(broken(way))}
    assert found <= BLOCKING
    assert (subject in found) == (subject in BLOCKING)
    left = [one for one in blocking_problems(broken(way), leaving="c") if one.node == "c"]
    assert left == [], "a problem of the node that leaves is no reason to keep it"
    assert node in {"", "b", "c"}


def test_the_standby_that_leaves_is_not_counted() -> None:
    site = broken("standby")
    assert [one.message for one in blocking_problems(site, leaving="b")][-1].startswith("no standby is synchronous")


def test_a_check_that_is_off_or_new_is_not_late() -> None:
    site = plain(*NAMES)
    site["states"]["a"]["checks"]["scrub"].update(on=False, ended_at=None)
    site["states"]["b"]["checks"]["scrub"].update(since=datetime.now(UTC).timestamp(), ended_at=None)
    assert site_problems(RunningSite.parse(site)) == []


def test_what_a_silent_node_would_say_is_not_guessed() -> None:
    def lose(site: dict[str, Any]) -> None:
        site["states"]["c"] = {"error": "off"}
        for name in ("a", "b"):
            site["states"][name]["patroni"]["members"].pop(2)

    site = plain(*NAMES)
    lose(site)
    assert [one.subject for one in site_problems(RunningSite.parse(site))] == [Subject.NODE]


def test_a_unit_of_ours_that_failed_is_named_once() -> None:
    site = plain(*NAMES)
    BREAK["unit"](site)
    site["states"]["c"]["failed"].append("etcd.service")
    assert [one.subject for one in site_problems(RunningSite.parse(site))] == [Subject.UNIT]


def test_no_writer_is_needed_before_the_first_store() -> None:
    site = plain(*NAMES)
    for state in site["states"].values():
        state["balancer"]["writers"] = []
    assert site_problems(RunningSite.parse(site)) == []


def test_node_without_das_misses_none() -> None:
    site = plain(*NAMES)
    site["states"]["c"].update(das=None, room=None)
    assert site_problems(RunningSite.parse(site)) == []

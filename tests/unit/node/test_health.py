import logging
import threading
import time
from collections.abc import Callable

import pytest

from hapacs.load.waiting import eventually
from hapacs_node import log
from hapacs_node.errors import DasFullError
from hapacs_node.health import Health, Service
from hapacs_node.metrics import Metrics
from hapacs_node.settings import Health as HealthSettings


def bad() -> str:
    raise DasFullError("no space")


def fine() -> str:
    return "fine"


def make(service: Service, **probes: Callable[[], str]) -> Health:
    everything = {"database": lambda: "fine", "das": lambda: "fine", "cas": lambda: "fine", **probes}
    return Health(
        "pacs1", service, everything, HealthSettings(period_s=0.05, again_after_s=0.02, stale_after_s=5), Metrics()
    )


def report(health: Health) -> dict[str, object]:
    for name in health.probes:
        health.refresh(name)
    return health.report()


def test_before_the_first_probe_the_node_is_not_healthy() -> None:
    answer = make("store").report()
    assert not answer["ok"]


def test_a_node_is_healthy_when_all_probes_succeed() -> None:
    health = make("store")
    answer = report(health)
    assert answer["ok"]
    assert answer["node"] == "pacs1"
    assert health.metrics.registry.get_sample_value("hapacs_health_ok", {"check": "das"}) == 1


@pytest.mark.parametrize("service", ["store", "check"])
@pytest.mark.parametrize("name", ["database", "das", "cas"])
def test_a_storing_service_needs_all_probes(name: str, service: Service) -> None:
    answer = report(make(service, **{name: bad}))
    assert not answer["ok"]
    checks = answer["checks"]
    assert isinstance(checks, dict)
    assert checks[name]["detail"] == "no space"
    assert sum(check["ok"] for check in checks.values()) == 2


@pytest.mark.parametrize(
    ("broken", "ok"),
    [({"das"}, True), ({"cas"}, True), ({"das", "cas"}, False), ({"database"}, False)],
    ids=["das", "cas", "both copies", "database"],
)
def test_a_query_service_needs_the_index_and_one_of_the_copies(broken: set[str], ok: bool) -> None:
    assert report(make("query", **dict.fromkeys(broken, bad)))["ok"] is ok


def test_an_old_answer_counts_as_a_failure() -> None:
    health = make("store")
    assert report(health)["ok"]
    health.settings = HealthSettings(stale_after_s=0.01)
    time.sleep(0.02)
    answer = health.report()
    assert not answer["ok"]
    assert "hangs" in str(answer["checks"])


def test_a_probe_that_hangs_does_not_delay_the_others() -> None:
    release = threading.Event()

    def hang() -> str:
        release.wait(10)
        return "at last"

    health = make("query", cas=hang)
    health.start()
    try:
        deadline = time.monotonic() + 5
        while not health.report()["ok"] and time.monotonic() < deadline:
            time.sleep(0.01)
        assert health.report()["ok"]
        assert "not probed yet" in str(health.report()["checks"])
    finally:
        release.set()
        health.stop()


def test_probes_are_repeated_and_report_a_change() -> None:
    answers = iter(["fine", "fine"])

    def changing() -> str:
        answer = next(answers, None)
        return answer if answer is not None else bad()

    health = make("store", das=changing)
    health.start()
    try:
        deadline = time.monotonic() + 5
        while "no space" not in str(health.report()) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert "no space" in str(health.report())
    finally:
        health.stop()


def test_a_single_failure_does_not_count() -> None:
    answers = iter([True, False, True, False, False, True])

    def probe() -> str:
        return "fine" if next(answers) else bad()

    health = make("store", cas=probe)
    seen = []
    for _ in range(4):
        health.refresh("cas")
        checks = health.report()["checks"]
        assert isinstance(checks, dict)
        seen.append(checks["cas"]["ok"])
    assert seen == [True, True, False, True]
    assert list(answers) == []


def test_a_failed_probe_is_repeated_soon() -> None:
    answers = iter([False, False, False])

    def probe() -> str:
        return "fine" if next(answers, True) else bad()

    health = make("store", das=probe)
    health.settings = HealthSettings(period_s=60, again_after_s=0.02)
    health.start()
    try:
        deadline = time.monotonic() + 5
        while not health.report()["ok"] and time.monotonic() < deadline:
            time.sleep(0.01)
        assert health.report()["ok"]
    finally:
        health.stop()


def test_probes_of_the_process_itself_have_a_pace_of_their_own() -> None:
    runs = {"index": 0, "das": 0}

    def counted(name: str, fails_until: int) -> Callable[[], str]:
        def probe() -> str:
            runs[name] += 1
            if runs[name] < fails_until:
                raise DasFullError("not yet")
            return "fine"

        return probe

    settings = HealthSettings(period_s=60, again_after_s=60, often_s=0.01, often_again_after_s=0.01, stale_after_s=60)
    probes = {"index": counted("index", 3), "das": counted("das", 3)}
    health = Health("pacs1", "store", probes, settings, Metrics(), frozenset({"index"}))
    health.start()
    try:
        eventually("the index was asked again and again", lambda: runs["index"] > 5, 20)
        assert runs["das"] == 1
    finally:
        health.stop()


def test_a_service_that_starts_is_no_error_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    answers = iter([bad, fine, bad, bad])

    def probe() -> str:
        return next(answers)()

    health = Health(
        "pacs1", "store", {"index": probe}, HealthSettings(often_again_after_s=0.01), Metrics(), frozenset({"index"})
    )
    with caplog.at_level(logging.INFO, log.ROOT):
        for _ in range(3):
            health.refresh("index")
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING", "ERROR"]

"""A running site gets another Orthanc and goes back, one node at a time: images are readable before, during and after.

With ``HAPACS_TEST_DEPLOYMENT=lab`` it uses a lab that is up on this machine, and leaves it as it was.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from tests.cluster.conftest import Lab

# The longest time in which no store and no read succeeds: a node has its turn.
STORES_WAIT_S = 40
READS_WAIT_S = 10
VERSIONS = {"debian": "1.12.7", "backport": "1.13.0"}
_DEFAULT = "backport"

pytestmark = [pytest.mark.long, pytest.mark.timeout(60 * 60)]


@contextmanager
def settings(lab: Lab) -> Generator[Callable[[str], None]]:
    """Return what chooses the source of Orthanc at all sites; the settings are as before in the end."""
    file = lab.deployment.directory / "settings.yaml"
    before = file.read_text(encoding="utf-8")
    at = "    policy:\n"
    assert before.count(at) == len(lab.sites)

    def choose(source: str) -> None:
        chosen = before if source == _DEFAULT else before.replace(at, f"{at}      orthanc_source: {source}\n")
        file.write_text(chosen, encoding="utf-8")

    try:
        yield choose
    finally:
        file.write_text(before, encoding="utf-8")


@contextmanager
def reading(lab: Lab) -> Generator[None]:
    """Read the metadata of a study again and again, and check that no pause was too long and no answer another one."""
    begun, ended, pauses, others = time.monotonic(), threading.Event(), [0.0], []
    with lab.site.web_client(timeout_s=5) as web:
        (study,) = web.get("studies", params={"limit": 1}).raise_for_status().json()
        path = f"studies/{study['0020000D']['Value'][0]}/metadata"
        wanted = web.get(path).raise_for_status().json()

        def read() -> None:
            last = begun
            while not ended.wait(0.5):
                try:
                    answer = web.get(path)
                except httpx.HTTPError:
                    continue
                if answer.status_code == httpx.codes.OK:
                    others.extend([] if answer.json() == wanted else [answer.text])
                    pauses.append(time.monotonic() - last)
                    last = time.monotonic()
            pauses.append(time.monotonic() - last)

        thread = threading.Thread(target=read)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
    print(f"{len(pauses)} reads, longest pause {max(pauses):.1f} s")  # noqa: T201
    assert not others
    assert max(pauses) <= READS_WAIT_S


def versions(lab: Lab) -> dict[str, set[str]]:
    """Return what the running Orthancs of each node say that they are."""
    return {
        node: {site.orthanc(node, service).get_system().json()["Version"] for service in ("store", "query")}
        for site in lab.sites
        for node in site.nodes
    }


def test_site_changes_its_engine_and_goes_back_while_images_are_stored(
    lab: Lab, under_load: Callable[[float], Any]
) -> None:
    assert versions(lab) == {node: {VERSIONS[_DEFAULT]} for node in lab.nodes}
    with settings(lab) as choose:
        for source, version in VERSIONS.items():
            choose(source)
            with reading(lab), under_load(STORES_WAIT_S):
                done = lab.hapacs("up", lab.deployment.name)
            assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
            assert versions(lab) == {node: {version} for node in lab.nodes}

"""The probe against a site on loopback: which steps are good, and which fail."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hapacs_node.errors import ConfigurationError
from hapacs_node.metrics import Metrics
from hapacs_node.probe.service import Probe, past_the_balancer, through_the_entry
from hapacs_node.probe.settings import ProbeSettings
from tests.unit.probe.site import LOGIN, PASSWORD, FakeSite

EVERY = {
    "dicom echo",
    "dicom store",
    "dicom find",
    "dicom retrieve",
    "dicomweb store",
    "dicomweb find",
    "dicomweb retrieve",
}
RETRIEVED = {"dicom retrieve", "dicomweb retrieve"}
FOUND = {"dicom find", "dicomweb find"}


@pytest.fixture
def site() -> FakeSite:
    return FakeSite()


@pytest.fixture
def document(site: FakeSite, tmp_path: Path) -> Iterator[Callable[[], dict[str, Any]]]:
    """Start the site, and return the configuration of a probe for it."""
    started = []

    def start() -> dict[str, Any]:
        dicom, web = site.start_dicom(), site.start_web()
        started.extend([dicom, web])
        (tmp_path / "password").write_text(f"{PASSWORD}\n")
        port = dicom.socket.getsockname()[1]
        return {
            "site": "lab-primary",
            "node": "pacs1",
            "metrics_port": 9332,
            "timeout_s": 10,
            "dicom": {"host": "127.0.0.1", "port": port, "store_ae": "HAPACS", "query_ae": "HAPACS_QR"},
            "web": {
                "host": "127.0.0.1", "port": web.server_address[1], "password_file": str(tmp_path / "password"),
            },
            "nodes": {
                "targets": [{"name": "pacs1", "address": "127.0.0.1", "zone": "a"}],
                "store_port": port,
                "query_port": port,
            },
        }  # fmt: skip

    yield start
    for server in started:
        server.shutdown()


def probe_of(document: dict[str, Any], forget: Callable[[], None] = lambda: None) -> Probe:
    settings = ProbeSettings.model_validate(document)
    return Probe(settings, through_the_entry(settings), past_the_balancer(settings), forget, Metrics())


def value(probe: Probe, name: str, **labels: str) -> float | None:
    return probe.metrics.registry.get_sample_value(name, labels)


def failed(probe: Probe) -> set[str]:
    """Return the steps that failed in the only run; each was done once."""
    found = set()
    for step in EVERY:
        way, name = step.split()
        good, bad = (
            value(probe, "hapacs_probe_steps_total", way=way, step=name, result=result) for result in ("good", "failed")
        )
        assert sorted([good, bad]) == [0, 1], step  # type: ignore[type-var]
        if bad:
            found.add(step)
    return found


def test_a_sound_site_is_good_in_every_step(site: FakeSite, document: Callable[[], dict[str, Any]]) -> None:
    probe = probe_of(document())
    probe.once()
    assert failed(probe) == set()
    assert value(probe, "hapacs_probe_seconds_count", way="dicom", step="store") == 1
    assert site.logins == {LOGIN}


def test_storing_again_is_the_same_image(site: FakeSite, document: Callable[[], dict[str, Any]]) -> None:
    probe = probe_of(document())
    probe.once()
    files = dict(site.files)
    probe.once()
    assert site.stored == 2
    assert len(site.images) == 1
    assert site.files == files


@pytest.mark.parametrize(
    ("fault", "steps"),
    [
        # A store that is refused leaves nothing to find.
        ({"status": 0xA700}, {"dicom store", "dicom find", "dicom retrieve"}),
        ({"other_bytes": True}, RETRIEVED),
        ({"forgets": True}, FOUND),
        ({"refuses": True}, {step for step in EVERY if step.startswith("dicom ")}),
        ({"http_status": 503}, {step for step in EVERY if step.startswith("dicomweb ")}),
    ],
)
def test_a_fault_fails_its_steps_only(
    site: FakeSite, document: Callable[[], dict[str, Any]], fault: dict[str, Any], steps: set[str]
) -> None:
    for name, wanted in fault.items():
        setattr(site, name, wanted)
    probe = probe_of(document())
    probe.once()
    assert failed(probe) == steps
    way, name = min(steps).split()
    assert value(probe, "hapacs_probe_seconds_count", way=way, step=name) == 0, "only good steps have a time"


def test_a_site_that_is_gone_fails_everything(document: Callable[[], dict[str, Any]]) -> None:
    settings = document()
    settings["dicom"]["port"] = settings["web"]["port"] = 1
    probe = probe_of(settings)
    probe.once()
    assert failed(probe) == EVERY


def test_a_service_of_a_node_is_good_or_not(site: FakeSite, document: Callable[[], dict[str, Any]]) -> None:
    probe = probe_of(document())
    probe.once()
    probe.ask_nodes()
    assert value(probe, "hapacs_probe_node_good", target="pacs1", service="orthanc-query") == 1
    site.forgets = True
    probe.ask_nodes()
    assert value(probe, "hapacs_probe_node_good", target="pacs1", service="orthanc-query") == 0
    assert value(probe, "hapacs_probe_node_good", target="pacs1", service="orthanc-store") == 1


def test_without_a_password_dicomweb_is_not_asked(document: Callable[[], dict[str, Any]]) -> None:
    settings = document()
    settings["web"] = None
    probe = probe_of(settings)
    probe.once()
    assert value(probe, "hapacs_probe_steps_total", way="dicom", step="store", result="good") == 1
    assert value(probe, "hapacs_probe_steps_total", way="dicomweb", step="store", result="good") is None


def test_it_ends_between_two_steps(document: Callable[[], dict[str, Any]]) -> None:
    probe = probe_of(document())
    probe.stop.set()
    probe.once()
    probe.ask_nodes()
    assert value(probe, "hapacs_probe_steps_total", way="dicom", step="echo", result="good") == 0


@pytest.mark.parametrize(
    ("field", "wrong"),
    [("metrics_port", 0), ("period_s", 0), ("node", "a b"), ("site", ""), ("unknown", 1)],
)
def test_a_wrong_configuration_names_the_field(
    document: Callable[[], dict[str, Any]], tmp_path: Path, field: str, wrong: object
) -> None:
    file = tmp_path / "probe.json"
    file.write_text(json.dumps(document() | {field: wrong}))
    with pytest.raises(ConfigurationError, match=field):
        ProbeSettings.load(file)

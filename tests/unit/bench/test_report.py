import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from hapacs.bench import report
from hapacs.errors import RefusedError
from tests.unit.bench import fakes

DOCUMENTS = {"ingest": fakes.ingest(), "retrieve": fakes.retrieve(), "growth": fakes.growth()}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    directory = tmp_path / "results"
    directory.mkdir()
    for kind, document in DOCUMENTS.items():
        (directory / f"{kind}.json").write_text(json.dumps(document))
    return directory


def test_each_result_has_a_picture_and_its_figures(results: Path, tmp_path: Path) -> None:
    written = report.write(results, tmp_path / "docs")
    assert {path.name for path in written} == {
        "ingest.json", "ingest.svg", "retrieve.json", "retrieve.svg", "growth.json", "growth.svg", "results.md",
    }  # fmt: skip
    for kind in DOCUMENTS:
        assert ET.parse(tmp_path / "docs" / f"{kind}.svg").getroot().tag.endswith("svg")  # noqa: S314 - ours
    page = (tmp_path / "docs" / "results.md").read_text()
    for figure in ("**0.50**", "| bare | 120.0 | 119.0 120.0 121.0 | 70.0 |", "**0.98**", "beside 1,000,000 rows"):
        assert figure in page
    for kind in DOCUMENTS:
        assert f"]({kind}.svg)" in page


def test_the_same_results_give_the_same_files(results: Path, tmp_path: Path) -> None:
    first = [path.read_bytes() for path in report.write(results, tmp_path / "docs")]
    assert [path.read_bytes() for path in report.write(results, tmp_path / "docs")] == first


def test_results_that_were_not_measured_again_are_kept(results: Path, tmp_path: Path) -> None:
    report.write(results, tmp_path / "docs")
    for kind in ("retrieve", "growth"):
        (results / f"{kind}.json").unlink()
    (results / "ingest.json").write_text(json.dumps(fakes.ingest(ratio=0.77)))
    assert len(report.write(results, tmp_path / "docs")) == 7
    page = (tmp_path / "docs" / "results.md").read_text()
    assert "**0.77**" in page
    assert "## growth" in page


def test_nothing_was_measured(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="There is no result"):
        report.write(tmp_path / "none", tmp_path / "docs")


def test_small_components_are_shown_together() -> None:
    used = {"etcd": 0.1, "orthanc-store": 5.0, "ssh": 0.15, "haproxy": 6.0}
    assert report.components(used) == {"haproxy": 6.0, "orthanc-store": 5.0, "others": 0.25}
    assert report.components({"haproxy": 1.0}) == {"haproxy": 1.0}

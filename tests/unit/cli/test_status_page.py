"""The packed status page: what is in it, and that HAProxy can serve it from memory."""

from __future__ import annotations

import gzip
import re
import tarfile
from pathlib import Path

import pytest
import yaml

from hapacs import status_page
from hapacs.deployment import PROJECT
from hapacs.errors import HapacsError
from hapacs.npm import Pinned

ROLE = PROJECT / "ansible" / "roles" / "haproxy"
VARIABLES = yaml.safe_load((ROLE / "vars" / "main.yml").read_text(encoding="utf-8"))
DEFAULTS = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text(encoding="utf-8"))
LIBRARY = {"uplot.js": b"export default 1;", "uplot.css": b".u {}"}


@pytest.fixture
def packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """The files of a bundle that is packed with another chart library."""
    monkeypatch.setenv("HAPACS_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(status_page, "served", lambda: status_page.files() | LIBRARY)
    with tarfile.open(status_page.ensure()) as bundle:
        return {member.name: bundle.extractfile(member).read() for member in bundle}  # type: ignore[union-attr]


def test_the_balancer_serves_what_is_packed_and_knows_its_type(packed: dict[str, bytes]) -> None:
    served = VARIABLES["__haproxy_status_files"]
    assert {f"{name}.gz" for name in served} == set(packed)
    assert {name.rpartition(".")[2] for name in served} <= set(VARIABLES["__haproxy_status_kinds"])
    assert list(packed)[-1] == "index.html.gz", "an interrupted copy would have the page"


def test_each_file_fits_a_buffer_of_the_balancer(packed: dict[str, bytes]) -> None:
    # HAProxy refuses a configuration whose files are larger than its buffers; the heads of the answer are in there too.
    limit = DEFAULTS["haproxy_association_request_bytes"] - 4096
    assert {name: len(content) for name, content in packed.items() if len(content) > limit} == {}


def test_files_of_the_page_name_only_files_of_the_page(packed: dict[str, bytes]) -> None:
    texts = {name.removesuffix(".gz"): gzip.decompress(content).decode() for name, content in packed.items()}
    named = {
        found
        for name, text in texts.items()
        if name not in LIBRARY
        for found in re.findall(r"(?:src|href|from|import)=? ?\"(?:\./)?([\w.-]+\.(?:js|css|svg|html))[\"#]", text)
    }
    assert (
        {"page.css", "uplot.css", "page.js", "model.js", "uplot.js", "runbooks.html", "icon.svg"} <= named <= set(texts)
    )


def test_nothing_is_fetched_from_elsewhere(packed: dict[str, bytes]) -> None:
    for name, content in packed.items():
        found = set(re.findall(r"https?://[\w.]+", gzip.decompress(content).decode()))
        assert found <= {"http://www.w3.org"}, name


def test_no_markup_needs_more_than_the_policy_allows(packed: dict[str, bytes]) -> None:
    for name in ("index.html.gz", "runbooks.html.gz"):
        text = gzip.decompress(packed[name]).decode()
        assert re.search(r"<script(?![^>]* src=)|\sstyle=|\son\w+=|javascript:", text) is None, name


def test_each_runbook_has_its_anchor_and_links_stay_on_the_page() -> None:
    text = status_page.runbooks()
    anchors = set(re.findall(r'<section id="([\w-]+)">', text))
    assert anchors == {path.stem for path in status_page.RUNBOOKS.glob("*.md")} - {"README"}
    links = set(re.findall(r'href="#([\w-]+)"', text))
    assert links
    assert links <= anchors
    assert "<em>durability</em> (docs/operations/durability.md)" in text
    assert set(re.findall(r"\((docs/[^)]+)\)</li>", text)) <= {
        str(path.relative_to(PROJECT)) for path in (PROJECT / "docs").rglob("*.md")
    }


def test_another_page_is_another_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = status_page.path()
    assert re.fullmatch(r"status-page-[0-9a-f]{16}\.tar", before.name)
    objectives = tmp_path / "objectives.yml"
    objectives.write_text("store: {target: 0.9, about: An image is stored}\n", encoding="utf-8")
    monkeypatch.setattr(status_page, "OBJECTIVES", objectives)
    assert status_page.path() != before


def test_a_chart_library_that_is_built_differently_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other.tgz"
    with tarfile.open(other, "w:gz"):
        pass
    monkeypatch.setattr(Pinned, "content", lambda _: other.read_bytes())
    with pytest.raises(HapacsError, match=r"has no uplot\.css, uplot\.js"):
        status_page.served()


def test_a_chart_library_other_than_the_pinned_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other.tgz"
    other.write_bytes(b"another")
    monkeypatch.setenv(status_page.CHARTS.given, str(other))
    with pytest.raises(HapacsError, match="is not the pinned bundle of the charts of the status page") as failure:
        status_page.served()
    assert "requirements/charts.json" in failure.value.hint

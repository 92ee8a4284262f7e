"""Documents name only what exists: files, headings, commands, options, units, settings."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.docs import checks
from tests.unit.docs.document import Document, anchor
from tests.unit.docs.tree import PROJECT, Tree

TREE = Tree()
DOCUMENTS = [name for name in TREE.files if name.endswith(".md") and name != "CHANGELOG.md"]


def problems(document: Document) -> list[str]:
    return [problem for check in checks.ALL for problem in check(document, TREE)]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_names_only_what_exists(name: str) -> None:
    assert problems(Document(PROJECT / name, (PROJECT / name).read_text())) == []


def test_links_of_the_changelog_exist() -> None:
    document = Document(PROJECT / "CHANGELOG.md", (PROJECT / "CHANGELOG.md").read_text())
    assert list(checks.links(document, TREE)) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[gone](docs/gone.md)", "link docs/gone.md: no such file"),
        ("[heading](docs/operations/das.md#nowhere)", "no such heading"),
        ("# Here\n[own heading](#nowhere)", "link #nowhere: no such heading"),
        ("look at `ansible/roles/nothing/tasks/main.yml`", "path ansible/roles/nothing/tasks/main.yml"),
        ("look at `tests/cluster/test_no_<what>.py`", "no such file"),
        ("```\nansible-playbook ansible/playbooks/gone.yml\n```", "path ansible/playbooks/gone.yml"),
        ("run `hapacs explode lab`", "no command explode"),
        ("run `hapacs bench explode lab`", "no command explode"),
        ("run `.venv/bin/hapacs drain NAME --softly`", "no option --softly"),
        ('```\neval "$(hapacs environment lab)"\n```', "no command environment"),
        ("```\nhapacs-node das purge        # now\n```", "no command purge"),
        ("run `make everything`", "no target everything"),
        ("see `journalctl -u orthanc-move`", "unit orthanc-move"),
        ("```\nsystemctl stop orthanc-store das-scrub gone\n```", "unit gone"),
        ("`gone.service` starts it", "unit gone"),
        ("set `policy.das_high_fraction`", "setting policy.das_high_fraction"),
        ("set `sites.main.nodes.pacs1.disks`", "setting sites.main.nodes.pacs1.disks"),
        ("```yaml\npolicy: {retention_weeks: 3}\n```", "setting policy.retention_weeks"),
        ("set `das_high_fraction`", "name das_high_fraction"),
    ],
)  # fmt: skip
def test_a_wrong_document_is_found(text: str, said: str) -> None:
    found = problems(Document(PROJECT / "made-up.md", text))
    assert [problem for problem in found if said in problem], found


@pytest.mark.parametrize(
    "text",
    [
        "[page](docs/operations/das.md#it-fills-up) and [other](https://example.org/none)",
        "`ansible/roles/<role>/tasks/main.yml`, `inventories/NAME/settings.yaml`, `docs/adr/`",
        "```\n.venv/bin/hapacs drain NAME --node pacs2 && hapacs status   # then\nmake lint unit\n```",
        "`systemctl stop orthanc-store orthanc-query das`, `das-scrub.timer`, `journalctl -u haproxy -g refused=`",
        "`policy.das_watermark_fraction`, `sites.main.nodes.pacs1.wipe_serials`, `das_minimum_age_hours`",
        "```yaml\ncallers:\n  - {ae_title: CT1, networks: [203.0.113.64/32], may: [store]}\n```",
    ],
)
def test_a_right_document_passes(text: str) -> None:
    assert problems(Document(PROJECT / "made-up.md", text)) == []


@pytest.mark.parametrize(
    ("heading", "expected"),
    [("It fills up", "it-fills-up"), ("What `plan` and `up` look at", "what-plan-and-up-look-at"), ("A, B", "a-b")],
)
def test_anchors_are_those_of_github(heading: str, expected: str) -> None:
    assert anchor(heading) == expected


@pytest.mark.parametrize("folder", ["docs", "docs/adr", "docs/operations"])
def test_an_index_links_every_page_of_its_folder(folder: str) -> None:
    index = PROJECT / folder / "README.md"
    linked = {(index.parent / link.partition("#")[0]).resolve() for link in Document(index, index.read_text()).links}
    pages = {path for path in _pages(PROJECT / folder) if path not in {index, PROJECT / "docs/adr/template.md"}}
    assert sorted(pages - linked) == []


def _pages(folder: Path) -> Iterator[Path]:
    yield from folder.glob("*.md")


def decisions_named(text: str) -> set[int]:
    """Return the numbers of the decisions that a text refers to."""
    found = re.findall(r"docs/adr/(\d{4})|\bADR (\d{1,4})\b", text)
    return {int(path or number) for path, number in found}


def test_every_decision_that_a_file_refers_to_exists() -> None:
    there = {int(path.name[:4]) for path in (PROJECT / "docs/adr").glob("[0-9]*.md")}
    named = {
        f"{name}: ADR {number}"
        for name in TREE.files
        if name.endswith((".py", ".yml", ".yaml", ".j2", ".sh", ".md", ".cfg", "Makefile", ".lua"))
        for number in decisions_named((PROJECT / name).read_text()) - there
        if not name.startswith("tests/unit/docs/")
    }
    assert sorted(named) == []


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("(docs/adr/0019)", {19}), ("as ADR 7 says, and ADR 0012", {7, 12}), ("an ADR per decision", set())],
)
def test_references_to_decisions_are_found(text: str, numbers: set[int]) -> None:
    assert decisions_named(text) == numbers

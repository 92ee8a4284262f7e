"""What a plan of a lab says about data."""

from pathlib import Path
from typing import Any

import pytest

from hapacs import image, targets
from hapacs.changes import Change
from hapacs.errors import RefusedError
from hapacs.settings import load
from hapacs.targets.lab.data import consequences
from tests.unit.provisioning.conftest import LAB

BEFORE: dict[str, Any] = {"sites": {"primary": {"nodes": {"pacs1": {}, "pacs2": {}}}}}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (Change("update", "LabDisk", "pacs1-disk0", ("size_bytes",)), "the disk grows and its content stays"),
        (Change("create", "LabDisk", "pacs1-disk2"), "`hapacs up` then stops at the role das"),
        (Change("delete", "LabDisk", "pacs1-disk1"), "its file stays until `hapacs down`"),
        (Change("delete", "LabNode", "pacs1"), "the container is removed. Its data directory and disk files stay"),
        (Change("update", "LabNode", "pacs1", ("state", "address")), "the container is made again from the image"),
        (Change("replace", "LabNode", "pacs1", ("container",)), "its data directory and its disks stay"),
    ],
)
def test_each_change_that_concerns_data_has_a_sentence(change: Change, sentence: str) -> None:
    (said,) = consequences([change], BEFORE)
    assert said.startswith(f"{change.name}: ")
    assert sentence in said


@pytest.mark.parametrize(
    "change",
    [
        Change("update", "LabNode", "pacs1", ("state",)),
        Change("create", "LabNode", "pacs4"),
        Change("create", "LabDisk", "pacs4-disk0"),
        Change("update", "LabDisk", "pacs1-disk0", ("attached",)),
        Change("create", "LabNetwork", "primary-network"),
    ],
)
def test_changes_that_touch_no_data_have_none(change: Change) -> None:
    assert consequences([change], BEFORE) == []


def test_same_sentence_for_several_disks_is_one() -> None:
    grown = [Change("update", "LabDisk", f"pacs{number}-disk0", ("size_bytes",)) for number in (2, 1)]
    (said,) = consequences(grown, BEFORE)
    assert said.startswith("pacs1-disk0, pacs2-disk0: ")


def test_smaller_disk_is_refused_before_anything_is_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image, "tag", lambda: "image:1")
    target = targets.create(load(LAB), tmp_path)
    file = tmp_path / "lab" / "disks" / "pacs2-1.img"
    file.parent.mkdir(parents=True)
    with file.open("wb") as disk:
        disk.truncate(4 << 30)
    target.ready()
    with file.open("ab") as disk:
        disk.truncate(5 << 30)
    with pytest.raises(RefusedError, match="size_bytes: is 4 GiB, but disk 1 of pacs2 has 5 GiB"):
        target.ready()

"""Images in a folder: each file has its name only when it is whole, and what can't be written is tried again."""

import errno
import os
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from uuid import UUID

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file

from hapacs_node.catalog.tasks import Task
from hapacs_node.routing import folder, session
from hapacs_node.routing.destination import FolderDestination
from hapacs_node.routing.image import parse
from hapacs_node.routing.peer import Access, PeerError, UnansweredError
from hapacs_node.storage.files import write_file

CONTENT = Path(str(get_testdata_file("CT_small.dcm"))).read_bytes()
MESSAGE = parse(CONTENT)
PLACE = Path("1.2/1.2.3/1.2.3.4.dcm")


def task(attempts: int = 1, study: str = "1.2", sop: str = "1.2.3.4") -> Task:
    return Task(7, UUID(int=7), study, "1.2.3", sop, "1.2", "1.2.3", len(CONTENT), "all", None, attempts)


@pytest.fixture
def destination(tmp_path: Path) -> FolderDestination:
    """A folder that the settings would not allow, because it belongs to the test."""
    return FolderDestination.model_construct(kind="folder", path=str(tmp_path), must_be_mount=False)


def files(root: Path) -> set[Path]:
    return {path.relative_to(root) for path in root.rglob("*") if path.is_file()}


def test_an_image_is_one_file_in_folders_of_its_study_and_series(
    destination: FolderDestination, tmp_path: Path
) -> None:
    with folder.enter(destination) as opened:
        (ended,) = opened.send([(task(), MESSAGE)])
    assert (ended.state, ended.reason) == ("confirmed", "")
    assert files(tmp_path) == {PLACE}
    assert (tmp_path / PLACE).read_bytes() == CONTENT


def test_an_image_that_is_written_again_is_the_same_file_with_the_newer_bytes(
    destination: FolderDestination, tmp_path: Path
) -> None:
    dataset = dcmread(BytesIO(CONTENT))
    dataset.PatientName = "OTHER"
    output = BytesIO()
    dataset.save_as(output)
    with folder.enter(destination) as opened:
        opened.send([(task(), MESSAGE), (task(), parse(output.getvalue()))])
    assert files(tmp_path) == {PLACE}
    assert (tmp_path / PLACE).read_bytes() == output.getvalue()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ESTALE])
def test_a_folder_that_takes_no_file_is_a_failure_that_may_pass_and_leaves_no_part(
    destination: FolderDestination, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    with folder.enter(destination) as opened:
        monkeypatch.setattr(os, "fdatasync", fail)
        with pytest.raises(UnansweredError, match=os.strerror(number)):
            opened.send([(task(), MESSAGE)])
    assert files(tmp_path) == set()


def test_a_part_that_a_killed_writer_left_is_removed_when_its_image_is_tried_again(
    destination: FolderDestination, tmp_path: Path
) -> None:
    below = tmp_path / PLACE.parent
    below.mkdir(parents=True)
    (below / ".7-aaaa.part").write_bytes(b"half")
    (below / ".71-bbbb.part").write_bytes(b"of another task")
    with folder.enter(destination) as opened:
        opened.send([(task(attempts=2), MESSAGE)])
    assert files(tmp_path) == {PLACE, PLACE.with_name(".71-bbbb.part")}


def test_an_image_is_not_confirmed_when_other_bytes_are_read_back(
    destination: FolderDestination, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damage(at: int, name: str, parts: list[bytes], *, durable: bool) -> None:
        write_file(at, name, [parts[0][:-1] + b"\xff"], durable=durable)

    monkeypatch.setattr(folder, "write_file", damage)
    with folder.enter(destination) as opened:
        (ended,) = opened.send([(task(), MESSAGE)])
    assert (ended.state, ended.reason) == ("waiting", "the folder returns other bytes than were written")


@pytest.mark.parametrize("uid", ["..", "../1", "1/2", "", "1\0", ".7"])
def test_a_uid_that_leads_elsewhere_is_no_name(destination: FolderDestination, tmp_path: Path, uid: str) -> None:
    with folder.enter(destination) as opened:
        (study, sop) = opened.send([(task(study=uid), MESSAGE), (task(sop=uid), MESSAGE)])
    assert study.state == sop.state == "dead"
    assert files(tmp_path) == set()


def test_a_link_in_place_of_a_folder_is_not_followed(destination: FolderDestination, tmp_path: Path) -> None:
    (tmp_path / "1.2").symlink_to("/tmp")  # noqa: S108 - a link that leads out
    with folder.enter(destination) as opened, pytest.raises(UnansweredError):
        opened.send([(task(), MESSAGE)])


def make_missing(path: Path) -> None:
    path.rmdir()


def make_a_file(path: Path) -> None:
    path.rmdir()
    path.write_bytes(b"")


@pytest.mark.parametrize("spoil", [make_missing, make_a_file])
def test_a_missing_folder_is_a_failure_of_the_destination(
    destination: FolderDestination, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    spoil(tmp_path)
    with pytest.raises(PeerError, match="can't be opened"), folder.enter(destination):
        pass


def test_a_folder_on_the_systems_disk_is_refused_unless_it_is_meant(destination: FolderDestination) -> None:
    with (
        pytest.raises(PeerError, match="is not mounted"),
        folder.enter(destination.model_copy(update={"must_be_mount": True})),
    ):
        pass


def test_ping_writes_a_file_and_leaves_none(destination: FolderDestination, tmp_path: Path) -> None:
    assert "GB free" in session.ping(destination, Access())
    assert files(tmp_path) == set()


def test_those_images_are_present_that_have_a_file_under_their_name(
    destination: FolderDestination, tmp_path: Path
) -> None:
    with folder.enter(destination) as opened:
        opened.send([(task(), MESSAGE)])
    (tmp_path / PLACE.with_name(".8-aaaa.part")).write_bytes(CONTENT)
    asked = [task(), task(sop="1.2.3.5"), task(study="9.9"), task(sop="../1.2.3.4"), task(sop=".8-aaaa")]
    assert folder.present(destination, asked) == {"1.2.3.4"}
    with pytest.raises(PeerError, match="can't be opened"):
        folder.present(destination.model_copy(update={"path": str(tmp_path / "missing")}), asked)

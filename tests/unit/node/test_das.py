import errno
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hapacs_node.errors import DasCorruptError, DasError, DasFullError, DasMissingError
from hapacs_node.metrics import Metrics
from hapacs_node.settings import Das as DasSettings
from hapacs_node.storage import das as das_module
from hapacs_node.storage import names
from hapacs_node.storage.das import Das

CONTENT = b"a DICOM file" * 1000
DIGEST = names.digest_of(CONTENT)
Calls = list[tuple[str, object]]


def file_of(root: Path, digest: str = DIGEST) -> Path:
    return root.joinpath(*names.das_path(digest))


def damage(file: Path, content: bytes) -> None:
    file.chmod(0o640)
    file.write_bytes(content)


def files_in(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file()]


def failing(code: int) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(content=st.binary(min_size=1, max_size=5000))
def test_read_returns_the_written_bytes(das: Das, content: bytes) -> None:
    digest = names.digest_of(content)
    das.write(digest, content)
    assert das.read(digest, len(content)) == content


def test_a_file_is_named_by_its_digest_and_read_only(das: Das, root: Path) -> None:
    das.write(DIGEST, CONTENT)
    assert file_of(root).read_bytes() == CONTENT
    assert file_of(root).stat().st_mode & 0o337 == 0
    assert files_in(root / "incoming") == []


def test_the_file_then_its_name_are_flushed_before_write_returns(
    das: Das, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: Calls = []
    fdatasync, rename, fsync = os.fdatasync, os.rename, os.fsync

    def spy_fdatasync(file: int) -> None:
        calls.append(("fdatasync", os.fstat(file).st_size))
        fdatasync(file)

    def spy_rename(source: str, target: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        calls.append(("rename", target))
        rename(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    def spy_fsync(file: int) -> None:
        calls.append(("fsync", os.fstat(file).st_ino))
        fsync(file)

    monkeypatch.setattr(os, "fdatasync", spy_fdatasync)
    monkeypatch.setattr(os, "rename", spy_rename)
    monkeypatch.setattr(os, "fsync", spy_fsync)
    das.write(DIGEST, CONTENT)
    folder = file_of(root).parent
    assert calls[-3:] == [("fdatasync", len(CONTENT)), ("rename", DIGEST), ("fsync", folder.stat().st_ino)]
    # The new folders' own names are flushed too, each in its parent.
    flushed = {inode for name, inode in calls if name == "fsync"}
    assert {folder.parent.stat().st_ino, folder.parent.parent.stat().st_ino, root.stat().st_ino} <= flushed


def flushes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Record which inodes are flushed."""
    flushed: list[int] = []
    fsync = os.fsync

    def spy(file: int) -> None:
        flushed.append(os.fstat(file).st_ino)
        fsync(file)

    monkeypatch.setattr(os, "fsync", spy)
    return flushed


def test_existing_folders_are_flushed_before_their_first_durable_write_only(
    das: Das, root: Path, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Another process restores the copy, without a flush.
    Das(das.settings, metrics).write(DIGEST, CONTENT, durable=False)
    folder = file_of(root).parent
    above = [path.stat().st_ino for path in (root, folder.parent.parent, folder.parent)]
    flushed = flushes(monkeypatch)
    das.write(DIGEST, CONTENT)
    assert flushed == [*above, folder.stat().st_ino]
    das.write(DIGEST, CONTENT)
    assert flushed[4:] == [folder.stat().st_ino]


def test_a_folder_that_is_created_again_is_flushed_again(das: Das, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    das.write(DIGEST, CONTENT)
    folder = file_of(root).parent
    shutil.rmtree(folder)
    flushed = flushes(monkeypatch)
    das.write(DIGEST, CONTENT)
    assert flushed == [folder.parent.stat().st_ino, folder.stat().st_ino]
    shutil.rmtree(folder)
    monkeypatch.setattr(das_module, "_SPREAD", [folder.parent.name, folder.name])
    das.prepare()
    das.write(DIGEST, CONTENT)
    assert flushed[2:] == [folder.parent.stat().st_ino, folder.stat().st_ino]


def test_prepare_makes_the_folders_that_stores_use(das: Das, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, first, second, _ = names.das_path(DIGEST)
    assert {first, second} <= set(das_module._SPREAD)
    monkeypatch.setattr(das_module, "_SPREAD", sorted({first, second, "00"}))
    das.write("00" * 32, CONTENT)
    count = len({first, second, "00"})
    assert das.prepare() == count**2 - 1
    assert (root / "sha256" / first / second).is_dir()
    assert das.prepare() == 0


def test_a_derived_attachment_is_not_flushed(das: Das, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed = flushes(monkeypatch)
    das.write_derived(uuid4(), CONTENT)
    assert flushed == []


def test_a_restored_copy_is_not_flushed(das: Das, monkeypatch: pytest.MonkeyPatch) -> None:
    das.write(DIGEST, CONTENT)
    monkeypatch.setattr(os, "fdatasync", failing(errno.EIO))
    monkeypatch.setattr(os, "fsync", failing(errno.EIO))
    das.write(DIGEST, CONTENT, durable=False)
    assert das.read(DIGEST, len(CONTENT)) == CONTENT


def test_short_writes_are_continued(das: Das, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, content: write(file, content[:7]))
    das.write(DIGEST, CONTENT)
    monkeypatch.undo()
    assert das.read(DIGEST, len(CONTENT)) == CONTENT


@pytest.mark.parametrize(
    ("function", "code", "error"),
    [
        ("write", errno.ENOSPC, DasFullError),
        ("write", errno.EDQUOT, DasFullError),
        ("write", errno.EIO, DasError),
        ("fdatasync", errno.EIO, DasError),
        ("fdatasync", errno.ENOSPC, DasFullError),
        ("rename", errno.EROFS, DasError),
        ("fsync", errno.EIO, DasError),
        ("open", errno.EROFS, DasError),
        ("fstatvfs", errno.EIO, DasError),
    ],
)
def test_any_failure_of_the_disk_raises_and_leaves_no_partial_file(
    das: Das, *, root: Path, monkeypatch: pytest.MonkeyPatch, function: str, code: int, error: type[DasError]
) -> None:
    monkeypatch.setattr(os, function, failing(code))
    with pytest.raises(error):
        das.write(DIGEST, CONTENT)
    monkeypatch.undo()
    assert all(path.read_bytes() == CONTENT for path in root.rglob("*") if path.is_file())
    assert not (root / "incoming").exists() or files_in(root / "incoming") == []


def test_a_write_of_no_bytes_is_an_error(das: Das, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "write", lambda *_: 0)
    with pytest.raises(DasError):
        das.write(DIGEST, CONTENT)


def test_below_the_watermark_nothing_is_written(root: Path, metrics: Metrics) -> None:
    das = Das(DasSettings(root=root, minimum_free_bytes=2**62, must_be_mount=False), metrics)
    with pytest.raises(DasFullError, match="must keep"):
        das.write(DIGEST, CONTENT)
    with pytest.raises(DasFullError):
        das.probe()
    assert list(root.iterdir()) == []


def test_an_unmounted_das_is_refused(root: Path, metrics: Metrics) -> None:
    das = Das(DasSettings(root=root, minimum_free_bytes=0), metrics)
    with pytest.raises(DasError, match="not a mount point"):
        das.write(DIGEST, CONTENT)
    with pytest.raises(DasError, match="not a mount point"):
        das.probe()


def test_a_missing_root_is_an_error(das: Das, root: Path) -> None:
    root.rmdir()
    with pytest.raises(DasError):
        das.write(DIGEST, CONTENT)


@pytest.mark.parametrize(
    "content", [b"", CONTENT[:-1], CONTENT + b"x", b"X" + CONTENT[1:]], ids=["empty", "short", "long", "flipped"]
)
def test_a_damaged_copy_is_detected(das: Das, root: Path, content: bytes) -> None:
    das.write(DIGEST, CONTENT)
    damage(file_of(root), content)
    with pytest.raises(DasCorruptError):
        das.read(DIGEST, len(CONTENT))


def test_an_io_error_counts_as_a_damaged_copy(das: Das, monkeypatch: pytest.MonkeyPatch) -> None:
    das.write(DIGEST, CONTENT)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fstat", failing(errno.EIO))
        with pytest.raises(DasCorruptError):
            das.read(DIGEST, len(CONTENT))


def test_reading_without_a_copy_raises_missing(das: Das) -> None:
    with pytest.raises(DasMissingError):
        das.read(DIGEST, len(CONTENT))


def test_an_existing_file_is_replaced(das: Das, root: Path) -> None:
    das.write(DIGEST, CONTENT)
    damage(file_of(root), b"rotten")
    das.write(DIGEST, CONTENT)
    assert file_of(root).read_bytes() == CONTENT


def test_a_link_in_place_of_the_file_is_neither_followed_nor_written_through(
    das: Das, root: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(CONTENT)
    file_of(root).parent.mkdir(parents=True)
    file_of(root).symlink_to(elsewhere)
    with pytest.raises(DasCorruptError, match="link"):
        das.read(DIGEST, len(CONTENT))
    elsewhere.write_bytes(b"untouched")
    das.write(DIGEST, CONTENT)
    assert elsewhere.read_bytes() == b"untouched"
    assert not file_of(root).is_symlink()
    assert das.read(DIGEST, len(CONTENT)) == CONTENT


def test_a_link_in_place_of_a_folder_is_refused(das: Das, root: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (root / "sha256").symlink_to(elsewhere)
    with pytest.raises(DasError):
        das.write(DIGEST, CONTENT)
    with pytest.raises(DasError):
        das.read(DIGEST, len(CONTENT))
    assert list(elsewhere.iterdir()) == []


def test_a_folder_in_place_of_the_file_is_damage_and_fails_the_write(das: Das, root: Path) -> None:
    file_of(root).mkdir(parents=True)
    with pytest.raises(DasCorruptError, match="not a file"):
        das.read(DIGEST, len(CONTENT))
    with pytest.raises(DasError):
        das.write(DIGEST, CONTENT)


def test_a_pipe_in_place_of_the_file_does_not_block(das: Das, root: Path) -> None:
    file_of(root).parent.mkdir(parents=True)
    os.mkfifo(file_of(root))
    with pytest.raises(DasCorruptError, match="not a file"):
        das.read(DIGEST, len(CONTENT))


def test_derived_attachments_are_checked_too(das: Das, root: Path) -> None:
    uuid = uuid4()
    das.write_derived(uuid, b"header")
    assert das.read_derived(uuid) == b"header"
    file = root.joinpath(*names.derived_path(uuid))
    for content in (b"", b"short", file.read_bytes()[:-1], file.read_bytes() + b"x"):
        damage(file, content)
        with pytest.raises(DasCorruptError):
            das.read_derived(uuid)
    das.remove_derived(uuid)
    with pytest.raises(DasMissingError):
        das.read_derived(uuid)
    das.remove_derived(uuid)


def test_the_probe_stores_and_removes_a_file(das: Das, root: Path, metrics: Metrics) -> None:
    assert "GB free" in das.probe()
    assert files_in(root) == []
    assert (metrics.registry.get_sample_value("hapacs_das_free_bytes") or 0) > 0


def test_the_probe_fails_on_a_read_only_disk(das: Das, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fdatasync", failing(errno.EROFS))
    with pytest.raises(DasError, match="Read-only"):
        das.probe()


def test_clean_removes_old_temporary_files_and_keeps_recent_ones(das: Das, root: Path) -> None:
    incoming = root / "incoming"
    incoming.mkdir()
    (incoming / "old").write_bytes(b"interrupted")
    (incoming / "new").write_bytes(b"going on")
    before = time.time() - 2 * 3600
    os.utime(incoming / "old", (before, before))
    das.probe()
    assert files_in(incoming) == ["new"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders away")
def test_folders_made_by_root_get_the_owner_of_the_das(das: Das, root: Path) -> None:
    os.chown(root, 12345, 23456)
    das.write(DIGEST, CONTENT)
    for folder in (root / "incoming", *file_of(root).parents[:3]):
        assert (folder.stat().st_uid, folder.stat().st_gid) == (12345, 23456)


def test_no_file_stays_open(das: Das) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        das.write(DIGEST, CONTENT)
        das.read(DIGEST, len(CONTENT))
        with pytest.raises(DasMissingError):
            das.read("0" * 64, 1)
    assert len(list(Path("/proc/self/fd").iterdir())) == before

"""A test image goes to a destination on request, past the outbox: the same one each time."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import dcmread

from hapacs_node.probe.image import ProbeImage
from hapacs_node.routing import session
from hapacs_node.routing.destination import DicomDestination, FolderDestination
from hapacs_node.routing.peer import Access, PeerError
from tests.storage.servers import free_ports
from tests.support.storescp import PROGRAM, StoreScp

IMAGE = ProbeImage("lab-main/route", "pacs1", "workstation")


@pytest.mark.skipif(PROGRAM is None, reason="dcmtk is not installed")
def test_a_peer_takes_it_and_one_that_is_down_is_named(tmp_path: Path) -> None:
    scp = StoreScp(free_ports(1)[0], tmp_path / "received")
    peer = DicomDestination(ae_title="PEER", host="127.0.0.1", port=scp.port, timeout_s=5)
    scp.start()
    try:
        for _ in range(2):
            assert session.send_image(peer, Access(), IMAGE) == f"{IMAGE.sop} was taken"
        (file,) = scp.received().values()
        assert dcmread(file, force=True).PixelData == IMAGE.dataset.PixelData
    finally:
        scp.stop()
    with pytest.raises(PeerError, match=r"127\.0\.0\.1"):
        session.send_image(peer, Access(), IMAGE)


@pytest.mark.skipif(PROGRAM is None, reason="dcmtk is not installed")
def test_a_peer_that_does_not_want_its_class_is_an_error(tmp_path: Path) -> None:
    profile = tmp_path / "profile"
    profile.write_text(
        "[[TransferSyntaxes]]\n[Only]\nTransferSyntax1 = LocalEndianExplicit\n"
        "[[PresentationContexts]]\n[Storage]\nPresentationContext1 = CTImageStorage\\Only\n"
        "[[Profiles]]\n[Only]\nPresentationContexts = Storage\n"
    )
    scp = StoreScp(free_ports(1)[0], tmp_path / "received", options=("-xf", str(profile), "Only"), syntaxes="-v")
    peer = DicomDestination(ae_title="PEER", host="127.0.0.1", port=scp.port, timeout_s=5)
    scp.start()
    try:
        with pytest.raises(PeerError, match=IMAGE.sop):
            session.send_image(peer, Access(), IMAGE)
    finally:
        scp.stop()


def test_a_folder_has_it_once(tmp_path: Path) -> None:
    folder = FolderDestination.model_construct(kind="folder", path=str(tmp_path), must_be_mount=False)
    for _ in range(2):
        assert session.send_image(folder, Access(), IMAGE).startswith(IMAGE.sop)
    (file,) = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert file.read_bytes() == IMAGE.file

"""A certificate that ends: the former files come back, and only a handshake that fails for its end is a proof."""

from __future__ import annotations

import shutil
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.unit.ansible.loading import load_script


def issue(path: Path, ends: datetime) -> None:
    """Write a self-signed certificate and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "drill")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - timedelta(days=2))
        .not_valid_after(ends)
        .sign(key, hashes.SHA256())
    )
    encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    path.with_suffix(".crt").write_bytes(certificate.public_bytes(encoding))
    path.with_suffix(".key").write_bytes(key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain))


@pytest.fixture
def files(tmp_path: Path) -> Path:
    issue(tmp_path / "node", datetime.now(UTC) + timedelta(days=1))
    issue(tmp_path / "short", datetime.now(UTC) + timedelta(seconds=2))
    return tmp_path


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module; its commands but `cp` are noted in `commands`."""
    made = load_script("drill/files/drill_certificate.py")
    commands: list[tuple[str, ...]] = []

    def run(*words: str) -> str:
        if words[0] == "cp":
            shutil.copy2(*words[-2:])
        else:
            commands.append(words)
        return ""

    monkeypatch.setattr(made, "run", run)
    made.commands = commands  # type: ignore[attr-defined]
    return made


@pytest.fixture
def server(files: Path) -> Iterator[int]:
    """A TLS server with the short certificate; its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files / "short.crt", files / "short.key")
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                caller, _ = listener.accept()
            except OSError:
                return
            try:
                context.wrap_socket(caller, server_side=True).close()
            except OSError:
                caller.close()

    threading.Thread(target=serve, daemon=True).start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def fault(files: Path, port: int = 1, authority: str = "short") -> dict[str, Any]:
    return {
        "path": str(files / "node"), "by": str(files / "short"), "units": ["orthanc-tls", "orthanc-store"],
        "authority": str(files / f"{authority}.crt"), "address": "127.0.0.1", "port": port,
    }  # fmt: skip


def test_former_files_come_back(module: ModuleType, files: Path) -> None:
    before = [(files / name).read_bytes() for name in ("node.crt", "node.key")]
    certificate = module.Certificate(fault(files))
    certificate.apply(certificate.plan())
    assert (files / "node.crt").read_bytes() == (files / "short.crt").read_bytes()
    certificate.undo({})
    assert [(files / name).read_bytes() for name in ("node.crt", "node.key")] == before
    assert sorted(file.name for file in files.iterdir()) == ["node.crt", "node.key"]
    assert [words[:2] for words in module.commands] == [("systemctl", "restart")] * 2


def test_fault_that_never_began_restarts_no_service(module: ModuleType, files: Path) -> None:
    module.Certificate(fault(files)).undo({})
    assert module.commands == []


def test_certificate_that_has_ended_is_proved_by_a_handshake(module: ModuleType, files: Path, server: int) -> None:
    certificate = module.Certificate(fault(files, server))
    assert certificate.proof({}) == "", "it is valid"
    limit = time.monotonic() + 30
    while not (proof := certificate.proof({})) and time.monotonic() < limit:
        time.sleep(0.2)
    assert proof == f"the handshake with 127.0.0.1:{server} fails: certificate has expired"


def test_certificate_of_another_authority_is_no_proof(module: ModuleType, files: Path, server: int) -> None:
    assert module.Certificate(fault(files, server, "node")).proof({}) == ""


def test_service_that_does_not_answer_is_no_proof(module: ModuleType, files: Path) -> None:
    assert module.Certificate(fault(files)).proof({}) == ""


def test_missing_certificate_is_refused(module: ModuleType, files: Path) -> None:
    (files / "short.key").unlink()
    with pytest.raises(module.RefusedError, match=r"short\.key"):
        module.Certificate(fault(files)).plan()

"""The deployment's private authorities: one for each kind of traffic, kept on the controller.

An authority signs requests only; private keys of nodes are made on the nodes and never leave them. Certificates follow
the profile of RFC 5280; names come from the deployment, never from the request.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from hapacs.errors import HapacsError

AUTHORITIES = ("etcd", "postgres", "cas", "pacs", "edge", "monitoring", "replica", "backup")
"""The authorities by kind of traffic: a certificate of one kind is refused by services of another."""

CA_LIFETIME = timedelta(days=3650)
CLOCK_SKEW = timedelta(minutes=5)

USAGES = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}


@dataclass(frozen=True)
class Subject:
    """The subject of a certificate.

    Attributes
    ----------
    common_name
        Common name of the subject.
    sans
        Alternative names, each ``DNS:<name>`` or ``IP:<address>``.
    usages
        Any of ``server`` and ``client``.
    """

    common_name: str
    sans: Sequence[str] = ()
    usages: Sequence[str] = field(default=("server", "client"))

    def alternative_names(self) -> list[x509.GeneralName]:
        """Return `sans` as X.509 names.

        Raises
        ------
        HapacsError
            When one has no known kind or is no address.
        """
        names: list[x509.GeneralName] = []
        for san in self.sans:
            kind, _, value = san.partition(":")
            if kind == "DNS" and value:
                names.append(x509.DNSName(value))
            elif kind == "IP":
                try:
                    names.append(x509.IPAddress(ip_address(value)))
                except ValueError as error:
                    raise HapacsError(f"'{san}' is no address.", "Write alternative names as IP:<address>.") from error
            else:
                raise HapacsError(f"'{san}' is no alternative name.", "Write it as DNS:<name> or IP:<address>.")
        return names


class Authority:
    """A private certificate authority in its own directory.

    Parameters
    ----------
    directory
        The deployment's directory for all authorities, on the controller.
    name
        One of `AUTHORITIES`.
    passphrase
        Encrypts the authority's key on disk.
    """

    def __init__(self, directory: Path, name: str, passphrase: str) -> None:
        if name not in AUTHORITIES:
            raise HapacsError(f"There is no authority '{name}'.", f"Use one of {', '.join(AUTHORITIES)}.")
        if not passphrase:
            raise HapacsError("The authorities' passphrase is empty.", "Run `hapacs init` to make the secrets.")
        self.name = name
        self._directory = directory / name
        self._passphrase = passphrase.encode()

    @property
    def certificate_file(self) -> Path:
        """The authority's own certificate, PEM."""
        return self._directory / "ca.crt"

    @property
    def _key_file(self) -> Path:
        return self._directory / "ca.key"

    def ensure(self) -> bool:
        """Make the authority if it does not exist; return whether it was made.

        Raises
        ------
        HapacsError
            When only a part of it exists: it is never replaced, since every certificate would lose its issuer.
        """
        with self._lock():
            there = [path.exists() for path in (self.certificate_file, self._key_file)]
            if all(there):
                return False
            if self.certificate_file.exists():
                raise HapacsError(
                    f"{self._directory} holds a certificate without its key.",
                    "Restore ca.key from your backup of the deployment's state directory.",
                )
            key = ec.generate_private_key(ec.SECP256R1())
            encrypted = serialization.BestAvailableEncryption(self._passphrase)
            pem = serialization.PrivateFormat.PKCS8
            # The certificate is written last: its presence means that the authority is complete.
            write(self._key_file, key.private_bytes(serialization.Encoding.PEM, pem, encrypted), 0o600)
            write(self.certificate_file, self._self_signed(key).public_bytes(serialization.Encoding.PEM), 0o644)
            return True

    def certificate(self) -> x509.Certificate:
        """Return the authority's own certificate."""
        return x509.load_pem_x509_certificate(self.certificate_file.read_bytes())

    def check_lifetime(self, least: timedelta) -> None:
        """Check that the authority outlives the certificates that it signs now.

        Raises
        ------
        HapacsError
            When the authority itself expires within `least`.
        """
        ends = self.certificate().not_valid_after_utc
        if ends < datetime.now(UTC) + least:
            raise HapacsError(
                f"The authority {self.name} ends on {ends:%Y-%m-%d}, before the certificates that it would sign.",
                "Replace it in a maintenance window: see the README of the role pki.",
            )

    def reencrypt(self, former: str) -> None:
        """Encrypt the authority's key with its passphrase, when it still opens with a former one.

        Raises
        ------
        HapacsError
            When neither passphrase opens it.
        """
        try:
            self._key()
        except HapacsError:
            key = Authority(self._directory.parent, self.name, former)._key()
            pem = serialization.PrivateFormat.PKCS8
            encrypted = key.private_bytes(
                serialization.Encoding.PEM, pem, serialization.BestAvailableEncryption(self._passphrase)
            )
            write(self._key_file, encrypted, 0o600)

    def sign(self, request_pem: bytes, subject: Subject, lifetime: timedelta) -> bytes:
        """Sign a request.

        Parameters
        ----------
        request_pem
            PKCS #10; only its public key is used, once its signature proves possession of the private one.
        subject
            The names that the certificate gets.
        lifetime
            From now on; cut at the end of the authority's own.

        Returns
        -------
        bytes
            The certificate, PEM.

        Raises
        ------
        HapacsError
            When the request's signature is wrong or the passphrase does not fit.
        """
        request = x509.load_pem_x509_csr(request_pem)
        if not request.is_signature_valid:
            raise HapacsError(
                f"The request of '{subject.common_name}' is not signed by its own key.",
                "Make a new request with the node's key.",
            )
        issuer, now = self.certificate(), datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject.common_name)]))
            .issuer_name(issuer.subject)
            .public_key(request.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - CLOCK_SKEW)
            .not_valid_after(min(now + lifetime, issuer.not_valid_after_utc))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([USAGES[usage] for usage in subject.usages]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(request.public_key()), critical=False)
            .add_extension(_issuer_identifier(issuer), critical=False)
        )
        if names := subject.alternative_names():
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self._key(), hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def issue(self, path: Path, subject: Subject, lifetime: timedelta, renew_before: timedelta) -> bool:
        """Keep a key and certificate of the controller itself at ``<path>.key`` and ``<path>.crt``.

        Returns
        -------
        bool
            Whether they were made; False when the existing ones stay valid for longer than `renew_before`.
        """
        key_file, certificate_file = path.with_suffix(".key"), path.with_suffix(".crt")
        if key_file.exists() and certificate_file.exists():
            present = x509.load_pem_x509_certificate(certificate_file.read_bytes())
            issued_here = present.issuer == self.certificate().subject
            if issued_here and present.not_valid_after_utc - renew_before > datetime.now(UTC):
                return False
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject.common_name)])
        request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
        signed = self.sign(request.public_bytes(serialization.Encoding.PEM), subject, lifetime)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        write(key_file, private, 0o600)
        write(certificate_file, signed, 0o644)
        return True

    def _self_signed(self, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
        # The random part makes the authorities' names of two deployments different.
        unique = f"hapacs {self.name} {x509.random_serial_number() >> 96:x}"
        name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, unique)]), datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - CLOCK_SKEW)
            .not_valid_after(now + CA_LIFETIME)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )

    def _key(self) -> ec.EllipticCurvePrivateKey:
        try:
            key = serialization.load_pem_private_key(self._key_file.read_bytes(), self._passphrase)
        except ValueError as error:
            raise HapacsError(
                f"{self._key_file} does not open with the deployment's passphrase.",
                "Restore the secrets file and the state directory from the same backup.",
            ) from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise HapacsError(f"{self._key_file} holds no key of ours.", "Restore it from your backup.")
        return key

    @contextmanager
    def _lock(self) -> Iterator[None]:
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self._directory / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _issuer_identifier(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def write(path: Path, content: bytes, mode: int) -> None:
    """Write a file atomically, and flush it to disk before it is renamed."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(mode)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise

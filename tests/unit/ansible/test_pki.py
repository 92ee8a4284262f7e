from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from hapacs.errors import HapacsError
from hapacs.pki import Authority, Subject

YEAR = timedelta(days=365)
SUBJECT = Subject("pacs1", ["DNS:pacs1", "IP:192.0.2.11"], ["server"])


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    made = Authority(tmp_path, "etcd", "passphrase")
    assert made.ensure()
    return made


def request(name: str = "somebody else") -> bytes:
    asked = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(asked)
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("everything.example")]), critical=False)
    signed = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM)


def signed(authority: Authority, subject: Subject = SUBJECT, lifetime: timedelta = YEAR) -> x509.Certificate:
    return x509.load_pem_x509_certificate(authority.sign(request(), subject, lifetime))


def test_authority_is_created_once(authority: Authority) -> None:
    before = authority.certificate_file.read_bytes()
    assert not authority.ensure()
    assert authority.certificate_file.read_bytes() == before


def test_authority_key_is_encrypted_and_private(authority: Authority) -> None:
    key_file = authority.certificate_file.with_name("ca.key")
    assert b"ENCRYPTED" in key_file.read_bytes()
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(key_file.parent.stat().st_mode) == 0o700


def test_authority_with_lost_key_is_not_replaced(authority: Authority) -> None:
    authority.certificate_file.with_name("ca.key").unlink()
    with pytest.raises(HapacsError, match="without its key"):
        authority.ensure()


def test_interrupted_creation_is_completed(authority: Authority) -> None:
    authority.certificate_file.unlink()
    assert authority.ensure()
    signed(authority).verify_directly_issued_by(authority.certificate())


def test_certificate_names_come_from_the_controller_not_the_request(authority: Authority) -> None:
    certificate = signed(authority)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert certificate.subject.rfc4514_string() == "CN=pacs1"
    assert set(names) == {x509.DNSName("pacs1"), x509.IPAddress(ip_address("192.0.2.11"))}


def test_a_certificate_signs_nothing_and_serves_only_its_usages(authority: Authority) -> None:
    extensions = signed(authority).extensions
    assert not extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert not extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    assert list(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.SERVER_AUTH]


def test_serial_numbers_differ(authority: Authority) -> None:
    assert signed(authority).serial_number != signed(authority).serial_number


def test_certificate_expires_no_later_than_its_authority(authority: Authority) -> None:
    assert signed(authority, lifetime=timedelta(days=100_00)).not_valid_after_utc == (
        authority.certificate().not_valid_after_utc
    )


def test_certificates_of_one_authority_are_not_those_of_another(authority: Authority, tmp_path: Path) -> None:
    other = Authority(tmp_path, "cas", "passphrase")
    other.ensure()
    with pytest.raises((InvalidSignature, ValueError)):
        signed(other).verify_directly_issued_by(authority.certificate())


def test_two_deployments_never_share_the_name_of_an_authority(authority: Authority, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other", "etcd", "passphrase")
    other.ensure()
    assert other.certificate().subject != authority.certificate().subject


def test_a_wrong_passphrase_says_what_to_restore(authority: Authority, tmp_path: Path) -> None:
    with pytest.raises(HapacsError, match="does not open") as caught:
        Authority(tmp_path, "etcd", "another").sign(request(), SUBJECT, YEAR)
    assert "backup" in caught.value.hint
    assert authority.certificate_file.exists()


@pytest.mark.parametrize("san", ["pacs1", "IP:pacs1", "DNS:", "URI:x"])
def test_a_broken_alternative_name_is_refused(authority: Authority, san: str) -> None:
    with pytest.raises(HapacsError, match="is no"):
        signed(authority, Subject("pacs1", [san]))


def test_unknown_authorities_and_empty_passphrases_are_refused(tmp_path: Path) -> None:
    with pytest.raises(HapacsError, match="no authority 'web'"):
        Authority(tmp_path, "web", "passphrase")
    with pytest.raises(HapacsError, match="passphrase is empty"):
        Authority(tmp_path, "etcd", "")


def test_controller_certificate_is_kept_until_near_expiry(authority: Authority, tmp_path: Path) -> None:
    path, month = tmp_path / "controller-etcd", timedelta(days=30)
    assert authority.issue(path, SUBJECT, YEAR, month)
    first = path.with_suffix(".crt").read_bytes()
    assert not authority.issue(path, SUBJECT, YEAR, month)
    assert path.with_suffix(".crt").read_bytes() == first
    assert stat.S_IMODE(path.with_suffix(".key").stat().st_mode) == 0o600
    assert authority.issue(path, SUBJECT, YEAR, 2 * YEAR)
    assert path.with_suffix(".crt").read_bytes() != first


def test_authority_that_expires_early_is_reported(authority: Authority) -> None:
    left = authority.certificate().not_valid_after_utc - datetime.now(UTC)
    authority.check_lifetime(left - timedelta(days=1))
    with pytest.raises(HapacsError, match="The authority etcd ends on"):
        authority.check_lifetime(left + timedelta(days=1))


def test_reencrypted_key_opens_with_the_new_passphrase_only(tmp_path: Path, authority: Authority) -> None:
    before = authority.certificate_file.read_bytes()
    other = Authority(tmp_path, "etcd", "another")
    other.reencrypt("passphrase")
    other.reencrypt("passphrase")
    assert signed(other).issuer == other.certificate().subject
    assert other.certificate_file.read_bytes() == before
    with pytest.raises(HapacsError, match="does not open"):
        signed(authority)


def test_key_that_opens_with_neither_passphrase_is_unchanged(tmp_path: Path, authority: Authority) -> None:
    with pytest.raises(HapacsError, match="does not open"):
        Authority(tmp_path, "etcd", "another").reencrypt("wrong")
    assert signed(authority)

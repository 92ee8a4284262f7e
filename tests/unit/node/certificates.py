"""Certificates of a site's nodes, for servers on loopback."""

from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from hapacs.pki import Authority, Subject


def certificate(authority: Authority, directory: Path, name: str, *usages: str) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    asked = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    subject = Subject(name, ["IP:127.0.0.1"], usages)
    signed, private = directory / f"{name}.crt", directory / f"{name}.key"
    request = asked.public_bytes(serialization.Encoding.PEM)
    signed.write_bytes(authority.sign(request, subject, timedelta(days=1)))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return signed, private

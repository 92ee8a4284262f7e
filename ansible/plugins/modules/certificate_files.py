#!/usr/bin/python
"""Ansible module: keys and signing requests on a node, then signed certificates; used by the action `certificates`."""

from __future__ import annotations

DOCUMENTATION = r"""
module: certificate_files
short_description: Create keys and signing requests on a node, then install the signed certificates
description:
  - The C(certificates) action plugin calls it twice, for requests and for installation. Keys never leave the node.
options:
  authorities:
    description: Certificates (PEM) of authorities by name, installed as C(ca-<name>.crt) beside what they signed.
    type: dict
    required: true
  items:
    description: The certificates, see the C(certificates) action; each names its authority.
    type: list
    elements: dict
    required: true
  signed:
    description: Signed certificates by path; absent in the first call.
    type: dict
  renew_before_s:
    description: Time before expiry at which a certificate is renewed, in seconds.
    type: int
    required: true
author: hapacs
"""

EXAMPLES = r"""
- name: Create signing requests
  certificate_files:
    authorities: {etcd: "{{ pem }}"}
    items:
      - path: /etc/etcd/tls/server
        authority: etcd
        common_name: pacs1
        sans: []
        usages: [server]
        owner: etcd
        group: etcd
    renew_before_s: 2592000
"""

RETURN = r"""
requests:
  description: Signing request (PEM) and its reason, by path.
  returned: always
  type: dict
"""

import grp
import pwd
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible.module_utils.whole_file import Rights, keep, put

try:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    USAGES = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}
except ImportError:
    x509 = None  # type: ignore[assignment]


def names(item: dict[str, Any]) -> set[Any]:
    """Return an item's alternative names as X.509 names."""
    made = set()
    for san in item.get("sans", []):
        kind, _, value = san.partition(":")
        made.add(x509.IPAddress(ip_address(value)) if kind == "IP" else x509.DNSName(value))
    return made


def extension(certificate: x509.Certificate, kind: type) -> list[Any]:
    """Return the values of a list-like extension, or nothing where the certificate has none."""
    try:
        return list(certificate.extensions.get_extension_for_class(kind).value)
    except x509.ExtensionNotFound:
        return []


def stale(item: dict[str, Any], authority: x509.Certificate, renew_before: timedelta) -> str | None:
    """Return why an item needs a new certificate, or None when the current one is valid.

    Parameters
    ----------
    item
        One of the module's `items`.
    authority
        Who must have signed it.
    renew_before
        Time before expiry at which it is renewed, in seconds.
    """
    key_file, certificate_file = Path(item["path"] + ".key"), Path(item["path"] + ".crt")
    if not (key_file.exists() and certificate_file.exists()):
        return "it is missing"
    try:
        present = x509.load_pem_x509_certificate(certificate_file.read_bytes())
        key = serialization.load_pem_private_key(key_file.read_bytes(), None)
        present.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return "it is broken or of another authority"
    if present.public_key() != key.public_key():
        return "it does not belong to its key"
    if present.not_valid_after_utc - renew_before <= datetime.now(UTC):
        return f"it ends on {present.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
    common_names = [name.value for name in present.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    usages = {USAGES[usage] for usage in item.get("usages", ["server", "client"])}
    if (
        common_names != [item["common_name"]]
        or set(extension(present, x509.SubjectAlternativeName)) != names(item)
        or set(extension(present, x509.ExtendedKeyUsage)) != usages
    ):
        return "its names changed"
    return None


def request(item: dict[str, Any]) -> str:
    """Create a new key beside the current one and return a signing request for it, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    Path(item["path"]).parent.mkdir(parents=True, exist_ok=True)
    put(item["path"] + ".key.new", private, Rights(0, 0, 0o600))
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, item["common_name"])])
    made = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM).decode()


def install(item: dict[str, Any], certificate: str | None, module: AnsibleModule) -> bool:
    """Install one item's files; return whether anything changed."""
    path, check_mode = item["path"], module.check_mode
    uid, gid = pwd.getpwnam(item["owner"]).pw_uid, grp.getgrnam(item["group"]).gr_gid
    secret, public = Rights(uid, gid, 0o640), Rights(uid, gid, 0o644)
    if certificate is not None:
        # Key first: after an interruption the next run sees that key and certificate do not match.
        Path(path + ".key.new").replace(path + ".key")
        put(path + ".crt", certificate.encode(), public)
    changed = certificate is not None
    key, signed = Path(path + ".key").read_bytes(), Path(path + ".crt").read_bytes()
    changed |= keep(path + ".key", key, secret, check_mode)
    changed |= keep(path + ".crt", signed, public, check_mode)
    if item.get("combined"):
        changed |= keep(path + ".pem", signed + key, secret, check_mode)
    authority_file = str(Path(path).parent / f"ca-{item['authority']}.crt")
    authority_pem = module.params["authorities"][item["authority"]].encode()
    changed |= keep(authority_file, authority_pem, Rights(0, gid, 0o644), check_mode)
    return bool(changed)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "authorities": {"type": "dict", "required": True},
            "items": {"type": "list", "elements": "dict", "required": True},
            "signed": {"type": "dict"},
            "renew_before_s": {"type": "int", "required": True},
        },
        supports_check_mode=True,
    )
    if x509 is None:
        module.fail_json(
            msg=missing_required_lib("cryptography") + " Install python3-cryptography (the base role does)."
        )
    signed, items = module.params["signed"], module.params["items"]
    authorities = {
        name: x509.load_pem_x509_certificate(pem.encode()) for name, pem in module.params["authorities"].items()
    }
    renew_before = timedelta(seconds=module.params["renew_before_s"])
    if signed is None:
        reasons = {
            item["path"]: why for item in items if (why := stale(item, authorities[item["authority"]], renew_before))
        }
        wanted = [item for item in items if item["path"] in reasons]
        if module.check_mode:
            module.exit_json(changed=bool(wanted), requests={path: {"why": why} for path, why in reasons.items()})
        asked = {item["path"]: {"why": reasons[item["path"]], "pem": request(item)} for item in wanted}
        changed = [install(item, None, module) for item in items if item["path"] not in reasons]
        module.exit_json(changed=any(changed), requests=asked)
    changed = [install(item, signed[item["path"]], module) for item in items]
    module.exit_json(changed=any(changed), requests={})


if __name__ == "__main__":
    main()

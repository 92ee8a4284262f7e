#!/usr/bin/python
"""Ansible module: the node's half of the `certificates` action: keys and requests, then signed certificates."""

from __future__ import annotations

DOCUMENTATION = r"""
module: certificate_files
short_description: Make keys and requests on a node, then put the signed certificates in place
description:
  - Called by the C(certificates) action plugin, once to ask and once to install. A private key is made here and stays.
options:
  authority:
    description: Name of the authority; its certificate is kept beside each certificate as C(ca-<authority>.crt).
    type: str
    required: true
  authority_pem:
    description: The authority's certificate.
    type: str
    required: true
  items:
    description: The certificates, see the C(certificates) action.
    type: list
    elements: dict
    required: true
  signed:
    description: Signed certificates by path; absent while asking.
    type: dict
  renew_before_s:
    description: How long before its end, in seconds, a certificate is renewed.
    type: int
    required: true
author: hapacs
"""

EXAMPLES = r"""
- name: What has to be signed
  certificate_files:
    authority: etcd
    authority_pem: "{{ pem }}"
    items: [{path: /etc/etcd/tls/server, common_name: pacs1, sans: [], usages: [server], owner: etcd, group: etcd}]
    renew_before_s: 2592000
"""

RETURN = r"""
requests:
  description: By path, the signing request (PEM) and why it is made.
  returned: always
  type: dict
"""

import grp
import os
import pwd
import tempfile
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

try:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    USAGES = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}
except ImportError:
    x509 = None


def names(item: dict) -> set:
    """Return an item's alternative names as X.509 names."""
    made = set()
    for san in item.get("sans", []):
        kind, _, value = san.partition(":")
        made.add(x509.IPAddress(ip_address(value)) if kind == "IP" else x509.DNSName(value))
    return made


def extension(certificate: x509.Certificate, kind: type) -> list:
    """Return the values of a list-like extension, or nothing where the certificate has none."""
    try:
        return list(certificate.extensions.get_extension_for_class(kind).value)
    except x509.ExtensionNotFound:
        return []


def stale(item: dict, authority: x509.Certificate, renew_before: timedelta) -> str | None:
    """Say why an item's certificate has to be made, or None when the present one does.

    Parameters
    ----------
    item
        One of the module's `items`.
    authority
        Who must have signed it.
    renew_before
        How long before its end it is made anew.
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


def request(item: dict) -> str:
    """Make a new key beside the present one and return a signing request for it, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    put(item["path"] + ".key.new", private, Rights(0, 0, 0o600))
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, item["common_name"])])
    made = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM).decode()


class Rights(NamedTuple):
    """Owner, group and mode of a file."""

    uid: int
    gid: int
    mode: int


def put(path: str, content: bytes, rights: Rights) -> None:
    """Write a file whole, with its owner and mode set before it has its name."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            os.fchown(file.fileno(), rights.uid, rights.gid)
            os.fchmod(file.fileno(), rights.mode)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def keep(path: str, content: bytes, rights: Rights, check_mode: bool) -> bool:
    """Write a file when its content, owner or mode is not as asked; return whether it was not."""
    target = Path(path)
    if target.exists():
        status = target.stat()
        as_asked = (status.st_uid, status.st_gid, status.st_mode & 0o7777) == rights
        if as_asked and target.read_bytes() == content:
            return False
    if not check_mode:
        put(path, content, rights)
    return True


def install(item: dict, certificate: str | None, module: AnsibleModule) -> bool:
    """Put one item's files in place; return whether anything changed."""
    path, check_mode = item["path"], module.check_mode
    uid, gid = pwd.getpwnam(item["owner"]).pw_uid, grp.getgrnam(item["group"]).gr_gid
    secret, public = Rights(uid, gid, 0o640), Rights(uid, gid, 0o644)
    if certificate is not None:
        # Key first: when this is cut short here, the next run sees that the two do not belong together.
        Path(path + ".key.new").replace(path + ".key")
        put(path + ".crt", certificate.encode(), public)
    changed = certificate is not None
    key, signed = Path(path + ".key").read_bytes(), Path(path + ".crt").read_bytes()
    changed |= keep(path + ".key", key, secret, check_mode)
    changed |= keep(path + ".crt", signed, public, check_mode)
    if item.get("combined"):
        changed |= keep(path + ".pem", signed + key, secret, check_mode)
    authority_file = str(Path(path).parent / f"ca-{module.params['authority']}.crt")
    changed |= keep(authority_file, module.params["authority_pem"].encode(), Rights(0, gid, 0o644), check_mode)
    return changed


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "authority": {"type": "str", "required": True},
            "authority_pem": {"type": "str", "required": True},
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
    authority = x509.load_pem_x509_certificate(module.params["authority_pem"].encode())
    renew_before = timedelta(seconds=module.params["renew_before_s"])
    if signed is None:
        reasons = {item["path"]: why for item in items if (why := stale(item, authority, renew_before))}
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

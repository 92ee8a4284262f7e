"""New secrets in the encrypted file, and what becomes of the former ones."""

from __future__ import annotations

import pytest

from hapacs import rotation, secrets
from hapacs.deployment import Deployment
from hapacs.errors import HapacsError, RefusedError
from hapacs.pki import AUTHORITIES, Authority
from hapacs.rotation import FORMER_NODE_KEYS, FORMER_PASSPHRASE


@pytest.fixture
def present(deployment: Deployment) -> dict[str, object]:
    secrets.ensure(deployment)
    return secrets.read(deployment)


@pytest.mark.parametrize("kind", ["database", "archive-tokens", "statistics"])
def test_only_the_secrets_of_the_kind_change(deployment: Deployment, present: dict[str, object], kind: str) -> None:
    names = rotation.begin(deployment, kind)
    after = secrets.read(deployment)
    assert {name for name in present if after[name] != present[name]} == set(names) == set(rotation.names(kind))
    assert after.keys() == present.keys()


def test_keys_of_the_nodes_are_kept_beside_the_new_ones_until_the_end(
    deployment: Deployment, present: dict[str, object]
) -> None:
    former = {
        name: {key: present[f"hapacs_secret_cas_{identity}_{key}"] for key in ("access_key", "secret_key")}
        for identity, name in FORMER_NODE_KEYS.items()
    }
    names = rotation.begin(deployment, "archive-node")
    begun = secrets.read(deployment)
    assert {name: begun[name] for name in former} == former
    assert former.keys() <= set(names)
    assert not [name for name in rotation.names("archive-node") if begun[name] == present[name]]
    # Cut off and begun again: what some gateways know already is used, and what others still need is not forgotten.
    rotation.begin(deployment, "archive-node")
    assert secrets.read(deployment) == begun
    rotation.end(deployment, "archive-node")
    assert secrets.read(deployment).keys() == present.keys()


def test_rotation_that_an_earlier_version_began_keeps_its_keys(
    deployment: Deployment, present: dict[str, object]
) -> None:
    former = {"access_key": "former", "secret_key": "former-secret"}
    secrets.replace(deployment, lambda _: {FORMER_NODE_KEYS["node"]: former})
    names = rotation.begin(deployment, "archive-node")
    begun = secrets.read(deployment)
    assert begun[FORMER_NODE_KEYS["node"]] == former
    assert begun["hapacs_secret_cas_node_secret_key"] == present["hapacs_secret_cas_node_secret_key"]
    assert begun["hapacs_secret_cas_reader_secret_key"] != present["hapacs_secret_cas_reader_secret_key"]
    assert set(names) <= begun.keys()


def test_one_dicomweb_user_gets_a_new_password(deployment: Deployment, present: dict[str, object]) -> None:
    name = "hapacs_secret_dicomweb_users"
    secrets.replace(deployment, lambda plain: {name: plain[name] | {"reader": "a password of ours"}})
    rotation.begin(deployment, "dicomweb", "reader")
    users = secrets.read(deployment)[name]
    assert users["reader"] != "a password of ours"
    assert users["verify"] == present[name]["verify"]  # type: ignore[index]
    with pytest.raises(RefusedError, match="no user 'nobody'"):
        rotation.begin(deployment, "dicomweb", "nobody")


def test_the_authorities_open_with_the_new_passphrase(deployment: Deployment, present: dict[str, object]) -> None:
    name = "hapacs_secret_pki_passphrase"
    for authority in AUTHORITIES:
        Authority(deployment.pki_directory, authority, str(present[name])).ensure()
    # Cut off after the first of them.
    secrets.replace(deployment, lambda plain: {FORMER_PASSPHRASE: plain[name], name: "begun"})
    Authority(deployment.pki_directory, AUTHORITIES[0], "begun").reencrypt(str(present[name]))
    rotation.begin(deployment, "pki")
    after = secrets.read(deployment)
    assert after[name] == "begun"
    assert FORMER_PASSPHRASE not in after
    rotation.begin(deployment, "pki")
    passphrase = secrets.read(deployment)[name]
    assert passphrase not in {"begun", present[name]}
    for authority in AUTHORITIES:
        Authority(deployment.pki_directory, authority, passphrase).reencrypt("unused")


def test_authority_without_its_key_stops_the_rotation(deployment: Deployment, present: dict[str, object]) -> None:
    assert present
    with pytest.raises(HapacsError, match="has no key"):
        rotation.begin(deployment, "pki")


def test_unknown_kind_is_refused(deployment: Deployment) -> None:
    with pytest.raises(RefusedError, match="'everything' are not rotated"):
        rotation.begin(deployment, "everything")

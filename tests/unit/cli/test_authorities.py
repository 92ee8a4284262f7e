"""The authorities in the tree: kept after ``up``, and back on a controller that has only the tree and the age key."""

from __future__ import annotations

import json
import shutil
import stat
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from hapacs import authorities, rotation, secrets
from hapacs.cli.commands import app
from hapacs.deployment import Deployment
from hapacs.errors import HapacsError, RefusedError
from hapacs.pki import AUTHORITIES, Authority, Subject


def passphrase(deployment: Deployment) -> str:
    return str(secrets.read(deployment)["hapacs_secret_pki_passphrase"])


@pytest.fixture
def made(deployment: Deployment) -> Deployment:
    """A deployment whose authorities exist."""
    secrets.ensure(deployment)
    for name in AUTHORITIES:
        Authority(deployment.pki_directory, name, passphrase(deployment)).ensure()
    return deployment


def files(deployment: Deployment) -> dict[str, bytes]:
    return {
        str(path.relative_to(deployment.pki_directory)): path.read_bytes()
        for path in deployment.pki_directory.glob("*/ca.*")
    }


def test_they_come_back_on_a_controller_that_lost_them(made: Deployment) -> None:
    assert authorities.keep(made) is True
    assert authorities.keep(made) is False
    before = files(made)
    shutil.rmtree(made.pki_directory)
    assert authorities.bring_back(made) == list(AUTHORITIES)
    assert files(made) == before
    assert stat.S_IMODE((made.pki_directory / "pacs" / "ca.key").stat().st_mode) == 0o600
    # They sign as before, and nothing is made anew.
    authority = Authority(made.pki_directory, "pacs", passphrase(made))
    assert authority.ensure() is False
    assert authorities.bring_back(made) == []


def test_file_opens_with_the_age_key_only(made: Deployment, tmp_path: Path) -> None:
    authorities.keep(made)
    text = made.authorities_file.read_text()
    assert yaml.safe_load(text)["pacs"]["ca.key"].startswith("ENC[")
    assert "PRIVATE KEY" not in text
    made.age_key.rename(tmp_path / "elsewhere")
    shutil.rmtree(made.pki_directory)
    with pytest.raises(RefusedError, match="age key"):
        authorities.bring_back(made)
    assert not made.pki_directory.exists()


def test_another_authority_of_this_name_is_refused_and_none_is_replaced(made: Deployment) -> None:
    authorities.keep(made)
    shutil.rmtree(made.pki_directory / "edge")
    shutil.rmtree(made.pki_directory / "pacs")
    Authority(made.pki_directory, "pacs", passphrase(made)).ensure()
    there = files(made)
    with pytest.raises(RefusedError, match="authority pacs"):
        authorities.bring_back(made)
    assert files(made) == there


def test_one_that_is_not_complete_is_not_kept_over_a_complete_one(made: Deployment) -> None:
    authorities.keep(made)
    before = files(made)
    (made.pki_directory / "pacs" / "ca.crt").unlink()
    assert authorities.keep(made) is False
    assert authorities.bring_back(made) == ["pacs"]
    assert files(made) == before


def test_rotation_of_the_passphrase_keeps_the_keys_that_the_new_one_opens(made: Deployment) -> None:
    authorities.keep(made)
    rotation.begin(made, "pki")
    shutil.rmtree(made.pki_directory)
    authorities.bring_back(made)
    authority = Authority(made.pki_directory, "pacs", passphrase(made))
    key = made.state / "node"
    authority.issue(key, Subject("node"), timedelta(days=2), timedelta(days=1))
    assert key.with_suffix(".crt").exists()
    assert "hapacs_secret_pki_former_passphrase" not in secrets.read(made)


def test_damaged_file_says_what_is_wrong(made: Deployment) -> None:
    made.authorities_file.write_text("pacs: {ca.crt: x}\n")
    with pytest.raises(HapacsError, match=r"authorities\.sops\.yaml"):
        authorities.bring_back(made)


def test_init_says_that_they_are_back(made: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    authorities.keep(made)
    shutil.rmtree(made.pki_directory)
    monkeypatch.setattr("hapacs.cli.lifecycle.opened", lambda _: made)
    monkeypatch.setattr("hapacs.cli.lifecycle.print_warnings", lambda _: None)
    said = json.loads(CliRunner().invoke(app, ["init", made.name, "--json"]).stdout)
    assert (said["authorities_back"], said["secrets_made"]) == (list(AUTHORITIES), [])

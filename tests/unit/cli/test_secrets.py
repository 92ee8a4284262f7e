import json
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from hapacs import secrets
from hapacs.deployment import Deployment
from hapacs.errors import HapacsError, RefusedError


def values(plain: dict[str, Any]) -> list[str]:
    flat = [value for entry in plain.values() for value in (entry.values() if isinstance(entry, dict) else [entry])]
    return [str(value) for value in flat]


def test_secrets_are_strong_and_made_once(deployment: Deployment) -> None:
    made = secrets.ensure(deployment)
    plain = secrets.read(deployment)

    assert made == list(secrets.SECRETS)
    assert plain.keys() == secrets.SECRETS.keys()
    assert "verify" in plain["hapacs_secret_dicomweb_users"]
    assert len(set(values(plain))) == len(values(plain))
    lengths = {name: len(value) for name, value in plain.items() if isinstance(value, str)}
    assert {length for name, length in lengths.items() if not name.endswith("access_key")} == {40}
    assert secrets.ensure(deployment) == []
    assert secrets.read(deployment) == plain


def test_missing_secret_is_added_and_the_others_stay(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    fewer = {name: make for name, make in secrets.SECRETS.items() if name != "hapacs_secret_patroni_rest"}
    with monkeypatch.context() as earlier:
        earlier.setattr(secrets, "SECRETS", fewer)
        secrets.ensure(deployment)
    before = secrets.read(deployment)

    assert secrets.ensure(deployment) == ["hapacs_secret_patroni_rest"]

    after = secrets.read(deployment)
    assert {name: after[name] for name in before} == before
    assert len(after["hapacs_secret_patroni_rest"]) == 40


def test_key_is_readable_by_its_owner_only(deployment: Deployment) -> None:
    secrets.ensure(deployment)
    assert stat.S_IMODE(deployment.age_key.stat().st_mode) == 0o600


def test_encrypted_file_is_yaml_where_ansible_reads_it(deployment: Deployment) -> None:
    secrets.ensure(deployment)
    encrypted = yaml.safe_load(deployment.secrets_file.read_text())
    assert deployment.secrets_file == deployment.directory / "group_vars" / "all" / "secrets.sops.yaml"
    assert encrypted["hapacs_secret_pki_passphrase"].startswith("ENC[")
    assert "sops" in encrypted


def test_no_secret_is_in_the_clear_on_disk_in_arguments_or_in_the_environment(
    deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    real = subprocess.run

    def recording(command: list[str], **options: Any) -> Any:
        seen.append(json.dumps([command, options.get("env")]))
        return real(command, **options)

    monkeypatch.setattr(subprocess, "run", recording)
    secrets.ensure(deployment)
    plain = values(secrets.read(deployment))

    assert len(seen) >= 3
    assert not [value for value in plain for words in seen if value in words]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert deployment.secrets_file in files
    assert not [value for value in plain for path in files if value.encode() in path.read_bytes()]


@pytest.mark.parametrize("use", [secrets.ensure, secrets.read])
def test_a_missing_key_is_refused_with_its_place_and_nothing_is_overwritten(
    deployment: Deployment, use: Callable[[Deployment], object]
) -> None:
    secrets.ensure(deployment)
    before = deployment.secrets_file.read_bytes()
    deployment.age_key.unlink()
    with pytest.raises(RefusedError) as refused:
        use(deployment)
    assert f"{deployment.age_key} does not exist" in refused.value.message
    assert "off-line copy" in refused.value.hint
    assert "down" not in str(refused.value)
    assert deployment.secrets_file.read_bytes() == before
    assert not deployment.age_key.exists()


def test_wrong_key_is_refused(deployment: Deployment) -> None:
    secrets.ensure(deployment)
    deployment.age_key.unlink()
    subprocess.run(["age-keygen", "-o", deployment.age_key], check=True, capture_output=True)
    with pytest.raises(HapacsError, match="sops failed"):
        secrets.read(deployment)


def test_reading_before_init_names_the_command(deployment: Deployment) -> None:
    with pytest.raises(HapacsError, match="hapacs init lab"):
        secrets.read(deployment)

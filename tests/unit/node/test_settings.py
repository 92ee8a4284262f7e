import json
from pathlib import Path
from typing import Any

import pytest

from hapacs_node import settings
from hapacs_node.errors import ConfigurationError

_SECRET = "the-secret-key"


@pytest.fixture
def document(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "password").write_text("secret\n")
    (tmp_path / "cas.json").write_text(json.dumps({"access_key": "node", "secret_key": _SECRET}))
    (tmp_path / "ca.crt").write_text("certificate")
    return {
        "node": "pacs1",
        "site": "main",
        "database": {
            "hosts": ["10.0.0.11", "10.0.0.12"],
            "password_file": str(tmp_path / "password"),
            "ca_file": str(tmp_path / "ca.crt"),
        },
        "das": {"root": "/srv/das", "minimum_free_bytes": 1000},
        "cas": {
            "gateways": ["https://10.0.0.11:8333", "https://10.0.0.12:8333"],
            "bucket": "archive",
            "credentials_file": str(tmp_path / "cas.json"),
            "ca_file": str(tmp_path / "ca.crt"),
        },
    }


def _load(tmp_path: Path, document: object) -> settings.Settings:
    file = tmp_path / "node.json"
    file.write_text(json.dumps(document))
    return settings.load(file)


def test_a_valid_file_gives_the_settings_and_its_secrets(tmp_path: Path, document: dict[str, Any]) -> None:
    loaded = _load(tmp_path, document)
    assert loaded.database.hosts == ("10.0.0.11", "10.0.0.12")
    assert loaded.database.password().get_secret_value() == "secret"
    assert loaded.cas.credentials().access_key == "node"
    assert loaded.das.must_be_mount


def test_secrets_are_not_shown(tmp_path: Path, document: dict[str, Any]) -> None:
    loaded = _load(tmp_path, document)
    assert _SECRET not in repr(loaded.cas.credentials())
    assert "secret" not in str(loaded.database.password())


def test_all_problems_are_reported_at_once(tmp_path: Path, document: dict[str, Any]) -> None:
    document["node"] = ""
    document["das"]["minimum_free_bytes"] = -1
    document["cas"]["gateways"] = ["10.0.0.11:8333"]
    document["database"]["prot"] = 5432
    with pytest.raises(ConfigurationError) as caught:
        _load(tmp_path, document)
    text = str(caught.value)
    assert all(field in text for field in ("node:", "das.minimum_free_bytes:", "cas:", "database.prot:"))


@pytest.mark.parametrize(
    ("marks", "message"),
    [
        ((1000, 2000, 3000), None),
        ((1000, 1000, 3000), "starts only after images are already refused"),
        ((1000, 2000, 2000), "never end"),
        ((1000, 3000, 2000), "never end"),
    ],
)
def test_the_watermarks_of_the_das_must_be_in_order(
    tmp_path: Path, document: dict[str, Any], marks: tuple[int, int, int], message: str | None
) -> None:
    minimum, below, until = marks
    evict = {"below_free_bytes": below, "until_free_bytes": until}
    document["das"] |= {"minimum_free_bytes": minimum, "evict": evict}
    if message is None:
        loaded = _load(tmp_path, document).das.evict
        assert loaded is not None
        assert loaded.minimum_age_s == 86400
    else:
        with pytest.raises(ConfigurationError, match=message):
            _load(tmp_path, document)


def test_all_unreadable_files_are_reported_at_once(tmp_path: Path, document: dict[str, Any]) -> None:
    (tmp_path / "password").write_text("\n")
    (tmp_path / "ca.crt").unlink()
    (tmp_path / "cas.json").write_text(f'{{"secret": "{_SECRET}"}}')
    with pytest.raises(ConfigurationError) as caught:
        _load(tmp_path, document)
    text = str(caught.value)
    assert "database.password_file" in text
    assert "database.ca_file" in text
    assert "cas.ca_file" in text
    assert "cas.credentials_file" in text
    assert _SECRET not in text


@pytest.mark.parametrize(
    ("section", "field", "value"),
    [
        ("database", "hosts", []),
        ("database", "hosts", ["10.0.0.11,10.0.0.12"]),
        ("database", "deadline_s", 1),
        ("das", "root", "srv/das"),
        ("cas", "deadline_s", 1),
        ("cas", "bucket", "Archive"),
        ("cas", "gateways", ["https://10.0.0.11:8333/path"]),
        ("cas", "gateways", ["https://10.0.0.11:8333"] * 2),
        ("cas", "gateways", ["ftp://10.0.0.11"]),
        ("cas", "gateways", ["http://10.0.0.11:8333"]),
        ("cas", "ca_file", None),
        ("database", "ca_file", None),
    ],
)
def test_a_wrong_value_is_refused_with_its_section(
    tmp_path: Path, document: dict[str, Any], section: str, field: str, value: object
) -> None:
    document[section][field] = value
    with pytest.raises(ConfigurationError, match=section):
        _load(tmp_path, document)


def test_a_missing_or_invalid_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        settings.load(tmp_path / "node.json")
    (tmp_path / "node.json").write_text("{")
    with pytest.raises(ConfigurationError, match="is not JSON"):
        settings.load(tmp_path / "node.json")

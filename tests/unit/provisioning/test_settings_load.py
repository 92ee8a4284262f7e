"""Reading a settings file: what is no settings file, and what a single field refuses."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from hapacs import contract
from hapacs.errors import HapacsError
from hapacs.settings import GROUPS, SettingsError, load, parse
from hapacs.settings.fields import AeTitle
from hapacs.settings.load import MAXIMUM_BYTES
from tests.unit.provisioning.conftest import LAB

P = "sites.primary"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "lab" / "settings.yaml"
    path.parent.mkdir()
    path.write_text(LAB.read_text())
    return path


def refused(path: Path) -> str:
    with pytest.raises(SettingsError) as caught:
        load(path)
    return str(caught.value)


def test_lab_file_is_read(file: Path) -> None:
    settings = load(file)
    assert settings.deployment == "lab"
    members = {settings.sites["primary"].members(group) for group in GROUPS}
    assert members == {("pacs1", "pacs2", "pacs3")}
    assert settings.sites["primary"].disks.das.size_bytes == 4 * 1024**3


@pytest.mark.parametrize("path", sorted(LAB.parents[1].glob("*/settings.yaml")), ids=lambda path: path.parent.name)
def test_every_committed_deployment_is_sound(path: Path) -> None:
    assert load(path).deployment == path.parent.name


def test_settings_are_frozen(file: Path) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load(file).deployment = "other"


def test_error_is_one_that_people_see_and_names_the_file(file: Path) -> None:
    file.write_text("[]")
    with pytest.raises(HapacsError, match="mapping") as caught:
        load(file)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has to hold a mapping"),
        ("- a\n- b\n", "has to hold a mapping"),
        ("deployment: lab\ndeployment: other\n", "'deployment' is given twice (line 2, column 1)"),
        ("a:\n  b: 1\n  b: 2\n", "'b' is given twice (line 3, column 3)"),
        ("a: [1\n", "no valid YAML"),
        ("a: !!python/object:os.system {}\n", "no valid YAML"),
        ("a: \0\n", "no valid YAML"),
        ("[" * 100_000, "nested too deeply"),
        ("a: " + "x" * MAXIMUM_BYTES, "larger than"),
    ],
)
def test_what_is_no_settings_file(file: Path, text: str, said: str) -> None:
    file.write_text(text)
    assert said in refused(file)


def test_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "lab" / "settings.yaml")


def test_file_that_is_no_text(file: Path) -> None:
    file.write_bytes(b"\xff\xfe\x00")
    assert "can't be read" in refused(file)


def test_merge_key_is_no_duplicate(file: Path, data: dict[str, Any]) -> None:
    text = yaml.safe_dump(data).replace("zone: rack1", "zone: rack1\n        <<: {management_address: 10.89.77.11}", 1)
    file.write_text(text)
    assert str(load(file).sites["primary"].nodes["pacs1"].management_address) == "10.89.77.11"


def test_name_must_be_the_directorys(tmp_path: Path) -> None:
    path = tmp_path / "hospital" / "settings.yaml"
    path.parent.mkdir()
    path.write_text(LAB.read_text())
    assert "deployment: is 'lab', but the directory is 'hospital'" in refused(path)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("deployment", "Lab", "pattern"),
        ("target", {"kind": "cloud"}, "expected tags"),
        ("target.memory", 1, "no such setting"),
        ("colour", "red", "no such setting"),
        ("sites", {}, "at least 1 item"),
        (f"{P}.nodes", {}, "at least 1 item"),
        (f"{P}.nodes.Bad_Name", {"zone": "rack1", "address": "10.89.77.20"}, "pattern"),
        (f"{P}.nodes.pacs1.zone", "rack-1", "pattern"),
        (f"{P}.nodes.pacs1.address", "10.89.77.300", "valid IPv4 address"),
        (f"{P}.nodes.pacs1.das_devices", ["sdb"], "pattern"),
        (f"{P}.pools.web", ["pacs1"], "'etcd', 'postgres'"),
        (f"{P}.disks.das.count", 1, "greater than or equal to 2"),
        (f"{P}.disks.das.size_bytes", "4 parsecs", "byte unit"),
        (f"{P}.networks.cluster", "10.89.77.1/24", "write 10.89.77.0/24"),
        (f"{P}.networks.clients.0", "0.0.0.0/0", "lets everybody in"),
        (f"{P}.networks.management", [], "at least 1 item"),
        (f"{P}.vip.router_id", 256, "less than or equal to 255"),
        (f"{P}.dicom.store_ae", "A" * 17, "at most 16"),
        (f"{P}.dicom.port", 65536, "less than or equal to 65535"),
        (f"{P}.policy.cas_replication", "100", "pattern"),
        (f"{P}.policy.cas_replication", 0o10, "write it as text, in quotes"),
        (f"{P}.nodes.pacs1.address", 10, "write it as text"),
        (f"{P}.networks.clients", [10], "write it as text"),
        (f"{P}.vip.router_id", True, "valid integer"),
        (f"{P}.dicom.store_ae", 1234, "valid string"),
        (f"{P}.policy.das_watermark_fraction", 1.0, "less than or equal to 0.98"),
        (f"{P}.policy.retention_mode", "SOMETIMES", "'GOVERNANCE' or 'COMPLIANCE'"),
        ("callers.0.may", ["delete"], "'echo', 'store'"),
        ("verify.host", None, "valid IPv4 address"),
    ],
)
def test_a_wrong_value_is_reported_at_its_field(
    data: dict[str, Any], problems: Callable[[Any], dict[str, str]], field: str, value: object, said: str
) -> None:
    *path, last = field.split(".")
    place = data
    for key in path:
        place = place[int(key)] if isinstance(place, list) else place.setdefault(key, {})
    if isinstance(place, list):
        place[int(last)] = value
    else:
        place[last] = value
    found = problems(data)
    named = [name for name in found if name == field or name.startswith(f"{field}.")]
    assert named
    assert said in found[named[0]]


UPSTREAM: dict[str, Any] = {
    "version": "1.12.11",
    "base_url": "https://orthanc.example.org/downloads",
    "files": [
        {"path": "orthanc/1.12.11/Orthanc", "sha256": "0" * 64},
        {"path": "libOrthancDicomWeb.so", "sha256": "f" * 64},
    ],
}


def test_orthanc_may_come_from_its_authors(data: dict[str, Any], primary: dict[str, Any]) -> None:
    assert parse(data).sites["primary"].policy.orthanc_upstream is None
    primary["policy"]["orthanc_upstream"] = UPSTREAM
    policy = parse(data).sites["primary"].policy
    assert contract.policy(parse(data).sites["primary"]).model_dump(mode="json")["orthanc_upstream"] == UPSTREAM
    assert policy.orthanc_upstream is not None
    assert [file.path for file in policy.orthanc_upstream.files] == [it["path"] for it in UPSTREAM["files"]]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"version": 1.12}, "write it as text"),
        ({"version": "../1"}, "fit the pattern"),
        ({"base_url": "file:///srv"}, "fit the pattern"),
        ({"base_url": "https://user:secret@orthanc.example.org"}, "fit the pattern"),
        ({"files": []}, "the program itself is missing"),
        ({"files": UPSTREAM["files"][1:]}, "the program itself is missing"),
        ({"files": [*UPSTREAM["files"], {"path": "other/Orthanc", "sha256": "1" * 64}]}, "more than once"),
        ({"files": [{"path": "../../etc/Orthanc", "sha256": "0" * 64}]}, "fit the pattern"),
        ({"files": [{"path": "Orthanc", "sha256": "0" * 40}]}, "fit the pattern"),
        ({"files": [{"path": "Orthanc"}]}, "is missing"),
    ],
)
def test_unsound_upstream_is_refused(
    data: dict[str, Any],
    primary: dict[str, Any],
    problems: Callable[[Any], dict[str, str]],
    wrong: dict[str, Any],
    said: str,
) -> None:
    primary["policy"]["orthanc_upstream"] = UPSTREAM | wrong
    found = problems(data)
    assert found
    assert all(field.startswith(f"{P}.policy.orthanc_upstream") for field in found)
    assert said in " ".join(found.values())


def test_missing_field_is_named(data: dict[str, Any], problems: Callable[[Any], dict[str, str]]) -> None:
    del data["sites"]["primary"]["vip"]["router_id"]
    assert problems(data)[f"{P}.vip.router_id"] == "is missing; add it"


def test_typing_error_elsewhere_hides_nothing_in_a_sound_site(
    data: dict[str, Any], primary: dict[str, Any], problems: Callable[[Any], dict[str, str]]
) -> None:
    data["verfy"] = {}
    primary["vip"]["address"] = "192.0.2.1"
    assert set(problems(data)) == {"verfy", f"{P}.vip.address"}


@pytest.mark.parametrize("title", ["A", "HAPACS", "CT 1", "A" * 16, "#&'(*~"])
def test_sound_ae_titles(title: str) -> None:
    assert TypeAdapter(AeTitle).validate_python(title) == title


@pytest.mark.parametrize("title", ["", " ", " " * 16, "A" * 17, "A\\B", "A\tB", "A\nB", "A\x1bB", "É", " A", "A "])
def test_unsound_ae_titles(title: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(AeTitle).validate_python(title)


@given(st.text(max_size=20))
def test_accepted_ae_title_is_one_of_part_5(title: str) -> None:
    """DICOM PS3.5 section 6.2: at most 16 characters of the default repertoire, no backslash, not only spaces."""
    try:
        TypeAdapter(AeTitle).validate_python(title)
    except ValidationError:
        return
    assert 1 <= len(title) <= 16
    assert all(" " <= character <= "~" and character != "\\" for character in title)
    assert title.strip(" ")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    )
)
def test_any_data_is_refused_with_problems_or_read(data: dict[str, Any]) -> None:
    outcome: object
    try:
        outcome = parse(data)
    except SettingsError as error:
        outcome = error.problems
    assert outcome

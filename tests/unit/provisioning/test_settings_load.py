"""Reading a settings file: what is no settings file, and what a single field refuses."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from hapacs import contract
from hapacs.errors import HapacsError
from hapacs.services.model import GROUPS
from hapacs.settings import SettingsError, load, parse
from hapacs.settings.fields import AeTitle
from hapacs.settings.load import MAXIMUM_BYTES
from tests.unit.provisioning.conftest import LAB, Data, Problems

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


def test_error_names_the_file(file: Path) -> None:
    file.write_text("[]")
    with pytest.raises(HapacsError, match="must hold keys") as caught:
        load(file)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "must hold keys"),
        ("- a\n- b\n", "must hold keys"),
        ("deployment: lab\ndeployment: other\n", "'deployment' is given twice (line 2, column 1)"),
        ("a:\n  b: 1\n  b: 2\n", "'b' is given twice (line 3, column 3)"),
        ("a: [1\n", "is not valid YAML"),
        ("a: !!python/object:os.system {}\n", "is not valid YAML"),
        ("a: \0\n", "is not valid YAML"),
        ("[" * 100_000, "nested too deeply"),
        ("a: " + "x" * MAXIMUM_BYTES, "is larger than"),
    ],
)
def test_other_files_are_refused(file: Path, text: str, said: str) -> None:
    file.write_text(text)
    assert said in refused(file)


def test_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    assert "there is no such file" in refused(tmp_path / "lab" / "settings.yaml")


def test_file_that_is_no_text(file: Path) -> None:
    file.write_bytes(b"\xff\xfe\x00")
    assert "can't be read" in refused(file)


def test_merge_key_is_no_duplicate(file: Path, data: Data) -> None:
    text = yaml.safe_dump(data).replace("zone: rack1", "zone: rack1\n        <<: {management_address: 10.89.77.11}", 1)
    file.write_text(text)
    assert str(load(file).sites["primary"].nodes["pacs1"].management_address) == "10.89.77.11"


def test_deployment_must_have_the_name_of_its_directory(tmp_path: Path) -> None:
    path = tmp_path / "hospital" / "settings.yaml"
    path.parent.mkdir()
    path.write_text(LAB.read_text())
    assert "deployment: lab is not the name of the directory, hospital" in refused(path)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("deployment", "Lab", "small letters, digits and hyphens"),
        ("target", {"kind": "cloud"}, "one of lab, static"),
        ("target", {}, "kind: lab"),
        ("target.memory", 1, "no such setting"),
        ("colour", "red", "no such setting"),
        ("sites", {}, "at least one"),
        (f"{P}.nodes", {}, "at least one"),
        (f"{P}.nodes.Bad_Name", {"zone": "rack1", "address": "10.89.77.20"}, "small letters"),
        (f"{P}.nodes.pacs1.zone", "rack-1", "underscores"),
        (f"{P}.nodes.pacs1.address", "10.89.77.300", "no IPv4 address"),
        (f"{P}.nodes.pacs1.das_devices", ["/dev/sdb"], "/dev/disk/by-id/"),
        (f"{P}.pools.web", ["pacs1"], "one of etcd, postgres"),
        (f"{P}.disks.das.count", 1, "at least 2"),
        (f"{P}.disks.das.size_bytes", "4 parsecs", "no size"),
        (f"{P}.networks.cluster", "10.89.77.1/24", "write 10.89.77.0/24"),
        (f"{P}.networks.clients.0", "0.0.0.0/0", "16 million"),
        (f"{P}.networks.management", [], "at least one"),
        (f"{P}.vip.router_id", 256, "at most 255"),
        (f"{P}.dicom.store_ae", "A" * 17, "at most 16"),
        (f"{P}.dicom.port", 65536, "at most 65535"),
        (f"{P}.policy.cas_replication", "100", "three digits in quotes"),
        (f"{P}.policy.cas_replication", 0o10, "write it in quotes"),
        (f"{P}.nodes.pacs1.address", 10, "write it in quotes"),
        (f"{P}.networks.clients", [10], "write it in quotes"),
        (f"{P}.vip.router_id", True, "no whole number"),
        (f"{P}.dicom.store_ae", 1234, "write it in quotes"),
        (f"{P}.policy.das_watermark_fraction", 1.0, "at most 0.98"),
        (f"{P}.policy.retention_mode", "SOMETIMES", "one of GOVERNANCE, COMPLIANCE"),
        ("callers.0.may", ["delete"], "one of echo, store"),
        ("verify.host", None, "is empty"),
    ],
)
def test_a_wrong_value_is_reported_at_its_field(
    data: Data, problems: Problems, field: str, value: object, said: str
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


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4GiB", 4 << 30),
        ("16 TiB", 16 << 40),
        ("1.5TB", 1_500_000_000_000),
        (5 << 30, 5 << 30),
        ("6000000000", 6_000_000_000),
    ],
)
def test_sizes_have_a_number_and_a_unit(data: Data, primary: Data, text: object, size: int) -> None:
    primary["disks"]["das"]["size_bytes"] = text
    assert parse(data).sites["primary"].disks.das.size_bytes == size


@pytest.mark.parametrize(
    "text",
    [
        "16TiB pro Platte",
        "16TiB/2",
        "16Tbit",
        "16T",
        "-1GiB",
        "1e12",
        "",
        "TiB",
        1.5e12,
        True,
        None,
        [1],
        "99PiB",
        "9999PiB",
    ],
)
def test_anything_beside_a_size_is_refused(data: Data, primary: Data, problems: Problems, text: object) -> None:
    primary["disks"]["das"]["size_bytes"] = text
    found = problems(data)
    assert (list(found) == [f"{P}.disks.das.size_bytes"]) is (text != "99PiB")


@pytest.mark.parametrize("field", ["cluster", "clients", "management"])
@pytest.mark.parametrize("network", ["10.1.0.0", "10.1.2.3"])
def test_a_network_without_its_mask_is_refused_at_its_field(
    data: Data, primary: Data, problems: Problems, field: str, network: str
) -> None:
    primary["networks"][field] = network if field == "cluster" else [network]
    found = problems(data)
    [named] = [name for name in found if name.startswith(f"{P}.networks.{field}")]
    assert f"{network} has no mask; write {network}/32 for this one address" in found[named]


@pytest.mark.parametrize(
    "network", ["10.0.0.0/7", "127.0.0.0/8", "224.0.0.0/24", "240.0.0.0/8", "ten/8", "10.0.0.0/33"]
)
def test_networks_without_machines_are_refused(data: Data, primary: Data, problems: Problems, network: str) -> None:
    primary["networks"]["clients"].append(network)
    assert f"{P}.networks.clients.1" in problems(data)


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "224.0.0.18", "255.255.255.255"])  # noqa: S104
def test_addresses_that_no_machine_has_are_refused(data: Data, problems: Problems, address: str) -> None:
    data["verify"]["host"] = address
    assert "no address that a machine has" in problems(data)["verify.host"]


UPSTREAM: Data = {
    "version": "1.12.11",
    "base_url": "https://orthanc.example.org/downloads",
    "files": [
        {"path": "orthanc/1.12.11/Orthanc", "sha256": "0" * 64},
        {"path": "libOrthancDicomWeb.so", "sha256": "f" * 64},
    ],
}


def test_orthanc_may_come_from_its_authors(data: Data, primary: Data) -> None:
    assert parse(data).sites["primary"].policy.orthanc_upstream is None
    primary["policy"]["orthanc_upstream"] = UPSTREAM
    policy = parse(data).sites["primary"].policy
    assert contract.policy(parse(data).sites["primary"]).model_dump(mode="json")["orthanc_upstream"] == UPSTREAM
    assert policy.orthanc_upstream is not None
    assert [file.path for file in policy.orthanc_upstream.files] == [it["path"] for it in UPSTREAM["files"]]


@pytest.mark.parametrize(
    ("given", "source"),
    [
        ({}, "backport"),
        ({"orthanc_upstream": UPSTREAM}, "upstream"),
        ({"orthanc_source": "debian", "orthanc_upstream": UPSTREAM}, "debian"),
        ({"orthanc_source": "debian"}, "debian"),
        ({"orthanc_source": "upstream", "orthanc_upstream": UPSTREAM}, "upstream"),
    ],
)
def test_orthanc_is_our_build_unless_the_site_says_otherwise(
    data: Data, primary: Data, given: Data, source: str
) -> None:
    primary["policy"] |= given
    policy = contract.policy(parse(data).sites["primary"])
    assert policy.orthanc_source == source
    assert (policy.orthanc_upstream is not None) == (source == "upstream")


def test_upstream_without_its_files_is_refused(data: Data, primary: Data, problems: Problems) -> None:
    primary["policy"]["orthanc_source"] = "upstream"
    assert "list them in policy.orthanc_upstream" in problems(data)[f"{P}.policy.orthanc_source"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"version": 1.12}, "write it in quotes"),
        ({"version": "../1"}, "write a version"),
        ({"base_url": "file:///srv"}, "begins with https://"),
        ({"base_url": "https://user:secret@orthanc.example.org"}, "without a user name"),
        ({"files": []}, "the program itself is missing"),
        ({"files": UPSTREAM["files"][1:]}, "the program itself is missing"),
        ({"files": [*UPSTREAM["files"], {"path": "other/Orthanc", "sha256": "1" * 64}]}, "more than once"),
        ({"files": [{"path": "../../etc/Orthanc", "sha256": "0" * 64}]}, "path below base_url"),
        ({"files": [{"path": "Orthanc", "sha256": "0" * 40}]}, "64 digits"),
        ({"files": [{"path": "Orthanc"}]}, "is missing"),
    ],
)
def test_unsound_upstream_is_refused(
    data: Data,
    primary: Data,
    problems: Problems,
    wrong: Data,
    said: str,
) -> None:
    primary["policy"]["orthanc_upstream"] = UPSTREAM | wrong
    found = problems(data)
    assert found
    assert all(field.startswith(f"{P}.policy.orthanc_upstream") for field in found)
    assert said in " ".join(found.values())


def test_missing_field_is_named(data: Data, problems: Problems) -> None:
    del data["sites"]["primary"]["vip"]["router_id"]
    assert problems(data)[f"{P}.vip.router_id"] == "is missing; add it"


@pytest.mark.parametrize(
    "title", ["A", "HAPACS", "CT 1", "A" * 16, "CT#1", "CT/1", 'A"B', "#&'(*~", "{{ x }}", "-f", "}"]
)
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
def test_any_data_is_refused_with_problems_or_read(data: Data) -> None:
    outcome: object
    try:
        outcome = parse(data)
    except SettingsError as error:
        outcome = error.problems
    assert outcome

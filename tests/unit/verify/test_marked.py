"""What verify stored is removed from the index, and nothing else is."""

from __future__ import annotations

import fnmatch
import json
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest

from hapacs.dicom import Sample, files, marks, read_sample
from hapacs.site.access import Node, Site
from hapacs.site.marked import RemovalError, remove
from hapacs.verify import marked
from hapacs.verify.report import CheckFailedError
from hapacs.verify.round_trip import orthanc_id

CT = next(read_sample(path) for path in files.shipped_with_pydicom() if path.name == "CT_small.dcm")


@dataclass
class Index:
    """An Orthanc that has patients, and instances by their identifier."""

    patients: dict[str, str] = field(default_factory=dict)
    instances: dict[str, bytes] = field(default_factory=dict)
    deleted: list[str] = field(default_factory=list)
    status: int = 200
    greedy: bool = False
    url: str = ""

    def get(self, path: str, **_: Any) -> httpx.Response:
        if path == "/system":
            return httpx.Response(200)
        content = self.instances.get(path.split("/")[2])
        return httpx.Response(404) if content is None else httpx.Response(200, content=content)

    def post(self, _path: str, *, json: dict[str, Any], **_: Any) -> httpx.Response:
        pattern = "*" if self.greedy else json["Query"]["PatientID"]
        found = [
            {"ID": name, "MainDicomTags": {"PatientID": patient}}
            for name, patient in self.patients.items()
            if fnmatch.fnmatchcase(patient, pattern)
        ]
        return httpx.Response(200, json=found)

    def delete(self, path: str, **_: Any) -> httpx.Response:
        if self.status == httpx.codes.OK:
            self.deleted.append(path)
            self.patients.pop(path.split("/")[2], None)
        return httpx.Response(self.status)


class Web:
    def __init__(self, index: Index) -> None:
        self.index = index

    def get(self, _path: str, *, params: dict[str, str]) -> httpx.Response:
        found = [name for name in self.index.patients.values() if fnmatch.fnmatchcase(name, params["PatientID"])]
        return httpx.Response(200, content=json.dumps(found)) if found else httpx.Response(204)


def site_of(index: Index) -> Site:
    node = Node("pacs1", "127.0.0.1", "127.0.0.1", "hapacs", 22)
    contract = {"policy": {"retention_mode": "COMPLIANCE", "retention_days": 3650}}
    return cast(
        Site,
        SimpleNamespace(
            members=lambda _: [node], orthanc=lambda *_: index, web=Web(index), contract=contract, nodes={"pacs1": node}
        ),
    )


@pytest.fixture
def index() -> Index:
    return Index({"a": f"{marks.VERIFY}1CT1", "b": "1CT1", "c": marks.VERIFY.lower(), "d": f"X{marks.VERIFY}"})


def test_only_patients_with_the_mark_are_removed(index: Index) -> None:
    detail = marked.check_removed(site_of(index))
    assert index.deleted == ["/patients/a"]
    assert "COMPLIANCE lock of 3650 days" in detail


def test_an_answer_with_other_patients_removes_none_of_them(index: Index) -> None:
    index.greedy = True
    remove(site_of(index), marks.VERIFY)
    assert index.deleted == ["/patients/a"]


def test_a_refused_removal_is_reported(index: Index) -> None:
    index.status = 500
    with pytest.raises(RemovalError, match="DELETE /patients/a is answered 500"):
        marked.check_removed(site_of(index))


def test_a_patient_that_is_still_listed_is_reported(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marked, "remove", lambda *_: 0)
    with pytest.raises(CheckFailedError, match="1 studies of HAPACS-VERIFY- patients are still listed"):
        marked.check_removed(site_of(index))


def test_an_unmarked_file_of_an_earlier_version_is_removed_by_its_content(tmp_path: Path) -> None:
    assert isinstance(CT, Sample)
    index = Index(instances={orthanc_id(CT): CT.content})
    assert marked.remove_unmarked(site_of(index), [CT]) == 1
    assert index.deleted == [f"/instances/{orthanc_id(CT)}"]
    # The same identifiers on another image: somebody's own.
    other = files.write_marked(CT, "OTHER-", tmp_path / "other").read_bytes()
    index = Index(instances={orthanc_id(CT): other})
    assert marked.remove_unmarked(site_of(index), [CT]) == 0
    assert index.deleted == []


def test_a_file_that_the_site_does_not_have_is_not_removed() -> None:
    assert isinstance(CT, Sample)
    index = Index()
    assert marked.remove_unmarked(site_of(index), [CT]) == 0
    assert index.deleted == []

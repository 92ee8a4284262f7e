"""Searches and metadata over TLS on loopback; catalog and archive are fakes."""

import gzip
import http.client
import json
import ssl
import struct
from collections.abc import Iterator, Sequence
from uuid import UUID, uuid4

import pytest

from hapacs_node.catalog.retrieval import Instance, Named
from hapacs_node.https import Listener
from hapacs_node.metrics import Metrics
from hapacs_node.query import header
from hapacs_node.query.attributes import Level
from hapacs_node.query.criteria import Counts, Found, Search
from hapacs_node.retrieve.budget import Budget
from hapacs_node.retrieve.server import Retrieval
from hapacs_node.storage.area import StorageArea
from tests.support.images import ct
from tests.unit.node.fakes import FakeCatalog

STUDY, SERIES, SOP = "1.2.3", "1.2.3.4", "1.2.3.4.5"
NAME = "Müller^Jürgen"


class Index(FakeCatalog):
    """A catalog with one study, which each search returns."""

    def __init__(self) -> None:
        super().__init__()
        self.study: list[UUID] = []
        self.searches: list[Search] = []
        self.keeps = True

    def retrieve(self, named: Named) -> list[Instance]:
        return [Instance(self.rows[uuid], "1.2") for uuid in self.study] if named.study == STUDY else []

    def documents(self, uuids: Sequence[UUID], described_as: str) -> dict[UUID, bytes]:
        headers = {uuid: self.rows[uuid].header for uuid in uuids}
        return {
            uuid: found.document
            for uuid, found in headers.items()
            if self.keeps and found is not None and found.document is not None and found.described_as == described_as
        }

    def search(self, asked: Search) -> list[Found]:
        self.searches.append(asked)
        described = header.of_index(STUDY, SERIES, SOP, {"00100010": NAME, "00104000": "x" * 2000})
        return [Found(STUDY, SERIES, SOP, described.levels[Level.STUDY].shown, Counts(1, 1, 1, ("CT",), ()))]


@pytest.fixture
def catalog() -> Index:
    return Index()


@pytest.fixture
def connection(
    area: StorageArea, catalog: Index, metrics: Metrics, listener: Listener, tls: ssl.SSLContext
) -> Iterator[http.client.HTTPSConnection]:
    retrieval = Retrieval(catalog, area, Budget(1 << 20, 0.2), metrics, title="HAPACS_QR")
    made = http.client.HTTPSConnection("127.0.0.1", retrieval.start(listener), context=tls, timeout=10)
    yield made
    made.close()
    retrieval.running.stop()


def store(area: StorageArea, catalog: Index, content: bytes) -> None:
    name = uuid4()
    area.create(str(name), 1, content)
    catalog.study.append(name)


def get(connection: http.client.HTTPSConnection, path: str, **headers: str) -> tuple[http.client.HTTPResponse, bytes]:
    sent = {"Host": "pacs.example"} | {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request("GET", f"/dicom-web/{path}", headers=sent)
    answer = connection.getresponse()
    return answer, answer.read()


def test_a_search_is_answered_in_json_with_what_was_ignored(
    connection: http.client.HTTPSConnection, catalog: Index
) -> None:
    answer, body = get(connection, "studies?PatientName=m%C3%BCller*&Bogus=1&limit=5&offset=10")
    assert (answer.status, answer.getheader("Content-Type")) == (200, "application/dicom+json")
    assert answer.getheader("Warning") == '299 hapacs "The parameter Bogus is not supported and was ignored."'
    [found] = json.loads(body)
    assert found["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": NAME}]}
    assert found["00081190"]["Value"] == [f"https://pacs.example/dicom-web/studies/{STUDY}"]
    [search] = catalog.searches
    assert (search.criteria[0].values, search.limit, search.offset) == (("muller%",), 5, 10)


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [("gzip, deflate, br", "gzip"), ("*", "gzip"), ("gzip;q=0", None), ("identity", None), ("br", None)],
)
def test_an_answer_is_compressed_for_those_who_take_gzip(
    connection: http.client.HTTPSConnection, accepted: str, coding: str | None
) -> None:
    answer, body = get(connection, "studies?includefield=all", Accept_Encoding=accepted)
    assert answer.getheader("Content-Encoding") == coding
    assert json.loads(gzip.decompress(body) if coding else body)[0]["00104000"]["Value"] == ["x" * 2000]


@pytest.mark.parametrize("query", ["limit=-1", "offset=x", "PatientName=%FF", "limit="])
def test_a_parameter_without_a_meaning_is_a_bad_request(connection: http.client.HTTPSConnection, query: str) -> None:
    assert get(connection, f"studies?{query}")[0].status == 400


@pytest.mark.parametrize("keeps", [True, False])
def test_metadata_is_complete_but_for_bulk_data(
    connection: http.client.HTTPSConnection, area: StorageArea, catalog: Index, keeps: bool
) -> None:
    catalog.keeps = keeps
    uids = {"StudyInstanceUID": STUDY, "SeriesInstanceUID": SERIES, "SOPInstanceUID": SOP}
    floats = struct.pack("<3f", 1.5, 2.5, 3.5)
    content = ct(**uids, PatientName=NAME, SpecificCharacterSet="ISO_IR 100", VectorGridData=floats)
    store(area, catalog, content)
    for level in ("", f"/series/{SERIES}", f"/series/{SERIES}/instances/{SOP}"):
        answer, body = get(connection, f"studies/{STUDY}{level}/metadata")
        assert answer.status == 200
        [found] = json.loads(body)
    assert found["00100010"]["Value"] == [{"Alphabetic": NAME}]
    assert found["00080005"]["Value"] == ["ISO_IR 192"]
    assert found["00280010"]["Value"] == [16]
    assert found["00640009"]["InlineBinary"] == "AADAPwAAIEAAAGBA"
    instance = f"https://pacs.example/dicom-web/studies/{STUDY}/series/{SERIES}/instances/{SOP}"
    assert found["7FE00010"] == {"vr": "OW", "BulkDataURI": f"{instance}/bulk/7FE00010"}
    assert get(connection, "studies/9.9/metadata")[0].status == 404


def test_a_file_that_is_nested_too_deeply_hides_no_other(
    connection: http.client.HTTPSConnection, area: StorageArea, catalog: Index
) -> None:
    uids = {"StudyInstanceUID": STUDY, "SeriesInstanceUID": SERIES}
    good, hostile = ct(**uids), ct(**uids, SOPInstanceUID=SOP)
    level = b"\x40\x00\x75\x02SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    end = b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0"
    at = hostile.index(b"\xe0\x7f\x10\x00")
    store(area, catalog, hostile[:at] + level * 20_000 + end * 20_000 + hostile[at:])
    store(area, catalog, good)
    first, second = json.loads(get(connection, f"studies/{STUDY}/metadata")[1])
    assert first["00080018"]["Value"] == [SOP]
    assert second["00280010"]["Value"] == [16]

"""The feed of the worklist over TLS on loopback, as a RIS uses it; the catalog is a fake."""

import http.client
import json
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from hapacs_node.errors import CatalogUnavailableError
from hapacs_node.metrics import Metrics
from hapacs_node.query.dicom_json import Json
from hapacs_node.retrieve.budget import Budget
from hapacs_node.retrieve.server import Retrieval
from hapacs_node.storage.area import StorageArea
from hapacs_node.worklist.entry import Entry
from hapacs_node.worklist.feed import Feed
from hapacs_node.worklist.settings import Worklist
from tests.support.scheduled import document
from tests.unit.node.fakes import FakeCatalog
from tests.unit.node.test_retrieval import balancer, port

__all__ = ["balancer", "port"]

type Balancer = http.client.HTTPSConnection
SETTINGS = Worklist.model_validate({"Title": "HAPACS_WL", "Users": ["ris"], "KeepDays": 7})


class Entries(FakeCatalog):
    """A catalog with a worklist."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[UUID, Json] = {}
        self.by: list[tuple[str, timedelta]] = []
        self.full = False

    def keep_entry(self, entry: Entry, days: timedelta, by: str, most: int) -> bool | None:
        self._ask()
        assert most > 0
        if self.full:
            return None
        is_new = entry.name not in self.kept
        self.kept[entry.name] = entry.document
        self.by.append((by, days))
        return is_new

    def delete_entry(self, name: UUID) -> bool:
        self._ask()
        return self.kept.pop(name, None) is not None

    def entry(self, name: UUID) -> Json | None:
        return self.kept.get(name)

    def entries(self) -> list[Json]:
        return list(self.kept.values())


@pytest.fixture
def catalog() -> Entries:
    return Entries()


@pytest.fixture
def retrieval(area: StorageArea, catalog: Entries, metrics: Metrics) -> Retrieval:
    return Retrieval(catalog, area, Budget(1 << 20, 0.2), metrics, feed=Feed(catalog, SETTINGS))


def ask(
    connection: Balancer, method: str, path: str, body: object = None, *, user: str = "ris", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    content = json.dumps(body).encode() if body is not None else None
    connection.request(method, path, content, {"X-Hapacs-User": user, **headers})
    answer = connection.getresponse()
    return answer.status, dict(answer.headers), answer.read()


def test_an_entry_is_sent_read_changed_and_deleted(balancer: Balancer, catalog: Entries) -> None:
    made: dict[str, Any] = document(StudyInstanceUID="1.2.3")
    status, headers, _ = ask(balancer, "POST", "/worklist", made)
    where = headers["Location"]
    assert (status, catalog.by) == (201, [("ris", timedelta(days=7))])
    status, headers, body = ask(balancer, "GET", where)
    assert (status, json.loads(body), headers["Content-Type"]) == (200, made, "application/dicom+json")
    changed = document({"ScheduledStationAETitle": "CT2"}, StudyInstanceUID="1.2.3")
    assert ask(balancer, "PUT", where, changed)[0] == 204
    assert json.loads(ask(balancer, "GET", "/worklist")[2]) == [changed]
    # A RIS that sends all of its entries again doubles none.
    status, headers, _ = ask(balancer, "POST", "/worklist", made)
    assert (status, headers["Location"]) == (204, where)
    assert ask(balancer, "DELETE", where)[0] == 204
    assert [ask(balancer, method, where)[0] for method in ("DELETE", "GET")] == [404, 404]
    assert json.loads(ask(balancer, "GET", "/worklist")[2]) == []


def test_an_entry_has_no_other_name_than_its_own(balancer: Balancer, catalog: Entries) -> None:
    assert ask(balancer, "PUT", f"/worklist/{UUID(int=1)}", document())[0] == 409
    assert catalog.kept == {}


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
def test_another_user_may_not(balancer: Balancer, catalog: Entries, method: str) -> None:
    path = "/worklist" if method in {"GET", "POST"} else f"/worklist/{UUID(int=1)}"
    for user in ("reader", "", "RIS"):
        assert ask(balancer, method, path, document() if method in {"POST", "PUT"} else None, user=user)[0] == 403
    assert catalog.kept == {}


@pytest.mark.parametrize(("method", "path"), [("PUT", "/worklist"), ("POST", f"/worklist/{UUID(int=1)}"),
                                              ("DELETE", "/worklist")])  # fmt: skip
def test_a_method_that_has_no_meaning_is_405(balancer: Balancer, method: str, path: str) -> None:
    status, headers, _ = ask(balancer, method, path, document())
    assert (status, method in headers["Allow"].split(", ")) == (405, False)


def test_a_wrong_entry_is_400_and_the_connection_goes_on(balancer: Balancer, catalog: Entries) -> None:
    status, _, body = ask(balancer, "POST", "/worklist", document(PatientID=None))
    assert (status, body) == (400, b"PatientID must have a value\n")
    assert ask(balancer, "POST", "/worklist", [document()])[0] == 400
    assert catalog.kept == {}
    assert ask(balancer, "POST", "/worklist", document())[0] == 201


def test_a_body_that_is_too_large_or_of_unknown_length_is_not_read(balancer: Balancer, catalog: Entries) -> None:
    assert ask(balancer, "POST", "/worklist", "x" * 70_000)[0] == 413
    balancer.request("POST", "/worklist", iter([b"{}"]), {"X-Hapacs-User": "ris"}, encode_chunked=True)
    answer = balancer.getresponse()
    assert (answer.status, answer.read()) == (411, b"the length of the entry must be said\n")
    assert catalog.kept == {}


def test_a_worklist_that_is_full_takes_no_more(balancer: Balancer, catalog: Entries) -> None:
    catalog.full = True
    assert ask(balancer, "POST", "/worklist", document())[0] == 507


def test_without_the_database_nothing_is_acknowledged(balancer: Balancer, catalog: Entries) -> None:
    catalog.fault = CatalogUnavailableError("no leader")
    assert ask(balancer, "POST", "/worklist", document())[0] == 503


def test_other_paths_take_no_other_methods(balancer: Balancer) -> None:
    for path in ("/dicom-web/studies", "/worklist/1", "/worklists"):
        status, headers, _ = ask(balancer, "POST", path, document())
        assert (status, headers["Allow"]) == (405, "GET, HEAD")


def test_a_site_without_a_worklist_has_no_feed(balancer: Balancer, retrieval: Retrieval) -> None:
    retrieval.feed = None
    assert ask(balancer, "POST", "/worklist", document())[0] == 405
    assert ask(balancer, "GET", "/worklist")[0] == 404

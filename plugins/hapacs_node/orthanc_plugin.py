"""The module that Orthanc's Python plugin loads, and the only one that imports `orthanc`.

The configuration is /etc/hapacs/node.json or ``HAPACS_NODE_FILE``; ``HAPACS_SERVICE`` is ``store`` or ``query``, the
service of this Orthanc.
"""

import json
import logging
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, cast

import orthanc  # type: ignore[import-not-found] # exists inside Orthanc only

import hapacs_node.without_numpy  # noqa: F401 - before pydicom is imported
from hapacs_node import index_guard, log, self_check, settings
from hapacs_node.catalog.catalog import Catalog
from hapacs_node.dimse.server import Entity
from hapacs_node.errors import NodeError, ReplacementRefusedError
from hapacs_node.health import Service
from hapacs_node.https import Listener
from hapacs_node.journal import JournalHandler
from hapacs_node.loopback import Orthanc
from hapacs_node.node import Node
from hapacs_node.record.addresses import Balancer
from hapacs_node.replication.tombstones import Remover
from hapacs_node.stow import local, store
from hapacs_node.worklist.settings import Worklist

_LOG = log.get("plugin")
# Statuses of a C-STORE (PS3.7 9.1.1.1.9 and PS3.4 B.2.3): a sender repeats the second one later, and not the first one.
_NOT_AUTHORIZED, _OUT_OF_RESOURCES = 0x0124, 0xA700
_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


# CivetWeb's HTTP threads have a stack of 100 KB (Debian's build). A TLS handshake of the archive's client needs more:
# the process ends with SIGSEGV. So our work runs on our own threads, of which there are more than Orthanc has calling
# threads. Their stack is large enough, and smaller than the 8 MB of Linux, which would count against the memory limit.
# Only what decodes images has what Linux gives: GDCM ended the process on a small one.
threading.stack_size(8 << 20)
_decoder = ThreadPoolExecutor(1, thread_name_prefix="decode")
_decoder.submit(threading.get_ident).result()
threading.stack_size(1 << 20)
_own_stack = ThreadPoolExecutor(128, thread_name_prefix="orthanc-call")


def _service() -> Service:
    name = os.environ.get("HAPACS_SERVICE", "store")
    if name not in {"store", "query"}:
        raise NodeError(f"HAPACS_SERVICE is {name!r}, it must be 'store' or 'query'")
    return cast("Service", name)


def _answer(output: Any, document: object, status: HTTPStatus = HTTPStatus.OK) -> None:
    body = json.dumps(document)
    if status == HTTPStatus.OK:
        output.AnswerBuffer(body, "application/json")
    else:
        output.SendHttpStatus(status.value, body)


def _served(callback: Callable[..., None]) -> Callable[..., None]:
    """Answer only GET, and answer 503 when the callback raises a NodeError."""

    def serve(output: Any, _uri: str, **request: Any) -> None:
        if request["method"] != "GET":
            output.SendMethodNotAllowed("GET")
            return
        try:
            callback(output, *request.get("groups", ()))
        except NodeError as error:
            _answer(output, {"error": str(error)}, HTTPStatus.SERVICE_UNAVAILABLE)

    return serve


@_served
def _health(output: Any) -> None:
    report = node.health.report() | {"admission": node.objects.admission.report()}
    _answer(output, report, HTTPStatus.OK if report["ok"] else HTTPStatus.SERVICE_UNAVAILABLE)


@_served
def _metrics(output: Any) -> None:
    output.AnswerBuffer(node.metrics.text(), _METRICS_TYPE)


@_served
def _object(output: Any, digest: str) -> None:
    report = _own_stack.submit(node.lookup.by_digest, digest).result()
    _answer(output, report, HTTPStatus.OK if report["catalog"] else HTTPStatus.NOT_FOUND)


@_served
def _instance(output: Any, name: str) -> None:
    reports = _own_stack.submit(node.lookup.by_instance, name).result()
    _answer(output, reports, HTTPStatus.OK if reports else HTTPStatus.NOT_FOUND)


def _create(uuid: str, content_type: int, content: bytes) -> None:
    _own_stack.submit(node.objects.create, threading.get_ident(), uuid, int(content_type), content).result()


def _read(uuid: str, content_type: int) -> bytes:
    return _own_stack.submit(node.objects.read, threading.get_ident(), uuid, int(content_type)).result()


def _remove(uuid: str, content_type: int) -> None:
    _own_stack.submit(node.objects.remove, threading.get_ident(), uuid, int(content_type)).result()


def _dicom_arrived(instance: Any) -> int:
    # Orthanc refuses the image when this raises, or returns anything but zero, which is the status of the answer.
    thread = threading.get_ident()
    with _harmless("C-STORE"):
        node.objects.dicom_arrived(thread, instance.GetInstanceRemoteAet())
    if not node.objects.decides:
        return 0
    try:
        _own_stack.submit(node.objects.admit, thread, instance.GetInstanceData()).result()
    except ReplacementRefusedError:
        return _NOT_AUTHORIZED
    except NodeError:
        return _OUT_OF_RESOURCES
    return 0


def _stored(instance: Any, _name: str) -> None:
    with _harmless("stored"):
        node.objects.stored(threading.get_ident(), _sender(instance))


def _sender(instance: Any) -> str | None:
    # What our own server gave to Orthanc has no address.
    with suppress(orthanc.OrthancException):
        return cast("str", instance.GetInstanceMetadata("RemoteIP")) or None
    return None


def _keep(content: bytes) -> int:
    """Store a DICOM file; return zero, or the failure reason of STOW-RS."""
    try:
        if node.objects.has_copy(threading.get_ident(), content):
            return 0
        if node.objects.decides:
            node.objects.admit(threading.get_ident(), content)
    except ReplacementRefusedError:
        return store.NOT_AUTHORIZED
    except NodeError:
        return store.OUT_OF_RESOURCES
    return local.store(storing, content, node.objects.named(threading.get_ident()))


def _http_arrived(path: str, **request: Any) -> bool:
    # Orthanc refuses the request when this raises, or returns False.
    reads = request["method"] == orthanc.HttpMethod.GET
    with _harmless("HTTP"):
        node.objects.http_arrived(threading.get_ident(), path, request["headers"], reads=reads)
    return not reads or node.health.service != "query" or node.gate.passes(path)


@contextmanager
def _harmless(what: str) -> Iterator[None]:
    """Log an exception instead of raising it, so that a failed record fails no image or request."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - any failure of the record
        _LOG.error(log.line("record_failed", what=what, error=repr(error)))


def _transcode(content: bytes, syntax: str) -> bytes:
    """Transcode a DICOM file. Orthanc's exception says no more than that it can't."""

    def transcode() -> bytes:
        return cast("bytes", orthanc.TranscodeDicomInstance(content, syntax).SerializeDicomInstance())

    return _decoder.submit(transcode).result()


def _own_probes() -> dict[str, Callable[[], str]]:
    index = self_check.Index(Orthanc(orthanc_configuration["HttpPort"], self_check.ANSWER_S))
    probes = {"index": index.probe}
    if "Association" in configuration:
        probes["association"] = self_check.Association.of(configuration["Association"]).probe
    return probes


def _changed(change: int, _level: int, _resource: str) -> None:
    if change == orthanc.ChangeType.ORTHANC_STOPPED:
        guard.stop()
        node.close()


orthanc_configuration = json.loads(orthanc.GetConfiguration())
configuration = orthanc_configuration.get("Hapacs", {})
storing = Orthanc(orthanc_configuration["HttpPort"], local.TIMEOUT_S)
logging.getLogger(log.ROOT).addHandler(JournalHandler())
logging.getLogger(log.ROOT).setLevel(logging.INFO)
logging.getLogger(log.ROOT).propagate = False
node = Node.build(
    settings.load(Path(os.environ.get("HAPACS_NODE_FILE", settings.DEFAULT_PATH))),
    _service(),
    Balancer.of(configuration["Callers"]) if "Callers" in configuration else None,
    entity=Entity.of(configuration["Dimse"]) if "Dimse" in configuration else None,
    transcode=_transcode,
    keep=_keep if "Stow" in configuration else None,
    worklist=Worklist.model_validate(configuration["Worklist"]) if "Worklist" in configuration else None,
    own=_own_probes(),
)
# The role orthanc gives the sessions of the index the name of the server.
guard = index_guard.IndexGuard(
    partial(index_guard.answers_at, orthanc_configuration["HttpPort"]),
    partial(Catalog(node.database).has_session, orthanc_configuration["DatabaseServerIdentifier"]),
)
orthanc.RegisterStorageArea(_create, _read, _remove)
orthanc.RegisterIncomingCStoreInstanceFilter(_dicom_arrived)
orthanc.RegisterOnStoredInstanceCallback(_stored)
orthanc.RegisterIncomingHttpRequestFilter(_http_arrived)
orthanc.RegisterRestCallback("/hapacs/health", _health)
orthanc.RegisterRestCallback("/hapacs/metrics", _metrics)
orthanc.RegisterRestCallback("/hapacs/objects/([0-9a-f]{64})", _object)
orthanc.RegisterRestCallback("/hapacs/instances/([0-9a-f.-]{1,64})", _instance)
orthanc.RegisterOnChangeCallback(_changed)
node.start()
guard.start()
# Each section is in the configuration of one service.
if "Retrieve" in configuration:
    node.retrieval.title = orthanc_configuration["DicomAet"]
    node.retrieval.orthanc = Orthanc(orthanc_configuration["HttpPort"])
    node.retrieval.start(Listener.of(configuration["Retrieve"]))
if node.stow is not None:
    node.stow.deleted = Remover(node.database, storing, node.objects.named).answer
    node.stow.start(Listener.of(configuration["Stow"]))
if node.scp is not None:
    node.scp.start(Listener.of(configuration["Dimse"]))

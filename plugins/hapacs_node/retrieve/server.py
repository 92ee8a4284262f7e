"""HTTPS server for the balancers: studies, frames, pictures, metadata and searches."""

from dataclasses import dataclass, field
from http import HTTPStatus

from hapacs_node.catalog.catalog import Catalog
from hapacs_node.catalog.retrieval import Named
from hapacs_node.dimse.transfer import Transcoder
from hapacs_node.errors import OrthancUnavailableError, RefusedError
from hapacs_node.https import Listener, Running
from hapacs_node.loopback import Orthanc
from hapacs_node.metrics import Metrics
from hapacs_node.query import qido, web
from hapacs_node.retrieve import bulk, frames, metadata, rendering, uri, wado
from hapacs_node.retrieve.budget import Budget
from hapacs_node.retrieve.bulk_answers import Bulk
from hapacs_node.retrieve.frame_answers import FrameAnswers
from hapacs_node.retrieve.metadata import Metadata
from hapacs_node.retrieve.places import Places
from hapacs_node.retrieve.request import Request, RetrieveServer
from hapacs_node.retrieve.sources import Sources
from hapacs_node.retrieve.viewings import Viewings
from hapacs_node.retrieve.whole import Whole
from hapacs_node.storage.area import StorageArea
from hapacs_node.storage.reader import Reader
from hapacs_node.worklist.feed import Feed, is_path

_JSON = frozenset({"*/*", "application/*", "application/json", "application/dicom+json"})
# What Orthanc says that a client can use; with other statuses it says that it can't decode or encode.
_PICTURE_STATUS = {
    status.value: status for status in (HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE)
}


@dataclass
class Retrieval:
    """Answers WADO-RS from catalog, DAS and archive, and QIDO-RS from the catalog.

    Parameters
    ----------
    catalog : Catalog
        Lists the instances.
    storage : StorageArea
        Reads the instances.
    budget : Budget
        Limits the memory of answers.
    metrics : Metrics
        Counts the requests.
    transcoder : Transcoder
        Makes other transfer syntaxes.
    title : str
        AE title from which the images can be retrieved, for answers to searches.
    orthanc : Orthanc or None
        Makes pictures; None where there is none.
    feed : Feed or None
        Takes the entries of the worklist; None where the site has none.
    """

    catalog: Catalog
    storage: StorageArea
    budget: Budget
    metrics: Metrics
    transcoder: Transcoder = field(default_factory=lambda: Transcoder(None))
    title: str = ""
    orthanc: Orthanc | None = None
    feed: Feed | None = None
    metadata: Metadata = field(init=False)
    _places: Places = field(init=False)
    _whole: Whole = field(init=False)
    _sources: Sources = field(init=False)
    _frames: FrameAnswers = field(init=False)
    _bulk: Bulk = field(init=False)
    viewings: Viewings = field(default_factory=Viewings, init=False)
    running: Running = field(default_factory=lambda: Running("WADO-RS"), init=False)

    def __post_init__(self) -> None:
        self.metadata = Metadata(self.catalog, self._reader, self.budget, self.storage.undeclared)
        self._places = Places(self.catalog)
        self._whole = Whole(self._reader, self.budget, self.transcoder, self.storage.undeclared)
        self._sources = Sources(self._reader, self.transcoder)
        self._frames = FrameAnswers(self.storage.das, self._sources, self.budget)
        self._bulk = Bulk(self._reader, self._sources, self.storage.undeclared)

    @property
    def _reader(self) -> Reader:
        return self.storage.reader

    def start(self, listener: Listener) -> int:
        """Start to listen, and return the port.

        Raises
        ------
        OSError
            When the certificates or the address can't be used.
        """
        return self.running.start(RetrieveServer(listener, self))

    def stop(self) -> None:
        """Accept no new connections, and write what was counted."""
        self.running.stop()
        self.viewings.end()

    def answer(self, request: Request) -> None:
        """Answer one request.

        Raises
        ------
        NodeError
            When the request is wrong, or its instances can't be read now.
        """
        if request.bare_path == uri.PATH and not self._read_parameters(request):
            return
        path = request.bare_path
        if self.feed is not None and self.writes(path):
            self.feed.answer(request)
        elif (searched := qido.Request.of(request.path)) is not None:
            request.event = "queried"
            if self._takes_json(request):
                host = request.headers.get("Host", "")
                request.reply(web.reply(searched, self.catalog.search, host, self.title))
        elif (named := metadata.named(request.path)) is not None:
            request.named, request.event = named, "requested"
            self._answer_metadata(request, named)
        elif (framed := frames.Asked.of(path)) is not None:
            request.named, request.event, request.viewings = framed.named, "requested", self.viewings
            self._frames.answer(request, framed.numbers, self._places.of(framed.named))
        elif (valued := bulk.Asked.of(path)) is not None:
            request.named, request.event = valued.named, "requested"
            self._answer_bulk(request, valued)
        elif (pictured := rendering.Asked.of(path)) is not None:
            request.named, request.event = pictured.named, "requested"
            self._answer_picture(request, pictured)
        else:
            request.named = wado.named(path)
            instances = self.catalog.retrieve(request.named)
            if instances:
                self._whole.answer(request, instances)
            else:
                request.refuse(HTTPStatus.NOT_FOUND, "no such study, series or instance")

    @staticmethod
    def _read_parameters(request: Request) -> bool:
        """Make a request of WADO-URI one of WADO-RS; else refuse it."""
        asked = uri.Asked.of(request.query)
        if not asked.accept:
            why = "contentType has to be application/dicom, image/jpeg or image/png"
            request.refuse(HTTPStatus.NOT_ACCEPTABLE, why)
            return False
        request.path = asked.path
        del request.headers["Accept"]
        request.headers["Accept"] = asked.accept
        return True

    def writes(self, path: str) -> bool:
        """Whether something can be written at a path: the entries of the worklist."""
        return self.feed is not None and is_path(path)

    @staticmethod
    def _takes_json(request: Request) -> bool:
        taken = any(one.type in _JSON or one.part in _JSON for one in request.accepted)
        if not taken:
            request.refuse(HTTPStatus.NOT_ACCEPTABLE, "the answer is application/dicom+json")
        return taken

    def _answer_metadata(self, request: Request, named: Named) -> None:
        instances = self.catalog.retrieve(named)
        if not instances:
            request.refuse(HTTPStatus.NOT_FOUND, "no such study, series or instance")
        elif self._takes_json(request):
            body = self.metadata.of(instances, web.root(request.headers.get("Host", "")))
            request.reply(web.Reply(body, len(instances)))

    def _answer_bulk(self, request: Request, asked: bulk.Asked) -> None:
        row = self._places.now(asked.named)
        with self.budget.hold(row.size):
            self._bulk.answer(request, asked.path, row)

    def _answer_picture(self, request: Request, asked: rendering.Asked) -> None:
        if self.orthanc is None:
            raise OrthancUnavailableError("this service makes no pictures")
        row = self._places.now(asked.named)
        known = self.catalog.instances(asked.named.instance or "")
        if len(known) == 1:
            path = request.path
        else:
            name = next((name for name, files in known.items() if any(file.uuid == row.uuid for file in files)), None)
            if name is None:
                raise RefusedError("no such instance")
            path = asked.of_orthanc(name, request.query)
        picture = self.orthanc.ask("GET", path, rendering.passed(request.headers))
        if path == request.path:
            # Orthanc wrote the event.
            request.event = None
        if picture.status != HTTPStatus.OK:
            request.refuse(_PICTURE_STATUS.get(picture.status, HTTPStatus.NOT_ACCEPTABLE), "it can't be made a picture")
            return
        request.sent, request.sent_bytes = 1, len(picture.body)
        request.begin(picture.content_type, len(picture.body))
        request.send(picture.body)

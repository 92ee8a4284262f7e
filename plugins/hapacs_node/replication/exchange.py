"""Sites tell each other, every few seconds, which of them leads, and which images have no copy yet."""

from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from hapacs_node import log
from hapacs_node.catalog import replication, site
from hapacs_node.catalog.database import Connection, Database
from hapacs_node.metrics import Metrics
from hapacs_node.replication.model import SecondSite
from hapacs_node.replication.names import SITE
from hapacs_node.routing import stow
from hapacs_node.routing.peer import Access, PeerError

_LOG = log.get("exchange")
TIMEOUT_S = 10
MOST_NAMED = 2000
"""Images without a copy that a site names; it counts all of them."""
# A site that starts waits so long for an answer of the other one before it believes that there is none.
PATIENCE_S = 30.0
_Uid = Annotated[str, Field(pattern=r"^[0-9.]{1,64}$")]


class Statement(BaseModel):
    """What a site says to the other one.

    Attributes
    ----------
    state, term
        As in `hapacs_node.catalog.site.Standing`.
    as_of
        When that was so, by the sender's clock.
    images
        How many of its acknowledged images are not confirmed at the other site.
    oldest_s
        Age of the oldest of them that was stored since the copies began, seconds.
    past_ended
        Whether all images from before the copies began are among them; else there are more.
    removals
        How many of its deletions the other site was not told yet.
    missing
        SOP Instance UIDs of the newest of them.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    state: Literal["leads", "follows", "fenced"]
    term: Annotated[int, Field(ge=1, lt=2**62)]
    as_of: AwareDatetime
    images: Annotated[int, Field(ge=0)]
    oldest_s: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    past_ended: bool
    removals: Annotated[int, Field(ge=0)] = 0
    missing: Annotated[tuple[_Uid, ...], Field(max_length=MOST_NAMED)]


def own(connection: Connection) -> Statement | None:
    """Return what this site says; None without another site."""
    standing, lag = site.find(connection), replication.lag(connection)
    if standing is None:
        return None
    if lag is None:
        return Statement(state=standing.state, term=standing.term, as_of=standing.as_of, images=0, oldest_s=0,
                         past_ended=False, missing=())  # fmt: skip
    return Statement(
        state=standing.state,
        term=standing.term,
        as_of=standing.as_of,
        images=lag.images + lag.past_images + lag.unplanned,
        oldest_s=lag.rpo_s,
        past_ended=lag.past_ended,
        removals=lag.removals,
        missing=tuple(replication.missing(connection, MOST_NAMED)),
    )


def hear(connection: Connection, said: Statement) -> None:
    """Note what the other site said, and give way to it if it leads with a higher term."""
    if site.hear(connection, said.model_dump(mode="json")):
        _LOG.error(log.line("gave_way", term=said.term))


class Exchange:
    """Asks the other site, from one node at a time.

    Parameters
    ----------
    database : Database
        The catalog's.
    access : Access
        What the other site wants to see.
    metrics : Metrics
        Shows what this site is.
    clock : callable
        Monotonic seconds.
    """

    def __init__(self, database: Database, access: Access, metrics: Metrics, clock: Callable[[], float]) -> None:
        self.database, self.access, self.clock = database, access, clock
        self._began = clock()
        self._states = metrics.gauge("hapacs_site_state", "1 for what this site is to the other one", ["state"])
        about = "Its term: of two sites the one with the higher one leads"
        self._term = metrics.gauge("hapacs_site_term", about, ["role"])
        about = "When the other site said something last"
        self._heard = metrics.gauge("hapacs_site_heard_time_seconds", about, ["role"])
        about = "When the Watchdog of the other site's monitoring came last, or was first expected"
        self._watched = metrics.gauge("hapacs_site_watched_time_seconds", about, ["role"])

    def ask(self, second: SecondSite) -> int:
        """Tell the other site what this one is, and note its answer, if that is due; return whether it was."""
        if not self.database.run(site.claim):
            return 0
        said = self.database.run(own)
        if said is None:
            return 0
        try:
            answer = self._asked(second, said)
        except PeerError as error:
            _LOG.warning(log.line("other_site_silent", error=error))
            if self.clock() - self._began > PATIENCE_S:
                self.database.run(site.asked)
        else:
            self.database.run(lambda c: hear(c, answer))
        return 1

    def _asked(self, second: SecondSite, said: Statement) -> Statement:
        near = second.entry.model_copy(update={"timeout_s": TIMEOUT_S})
        with stow.connect(near, self.access) as session:
            answer = session.question(SITE, said.model_dump_json().encode(), "what it is")
        try:
            return Statement.model_validate_json(answer)
        except ValidationError as error:
            raise PeerError(
                f"{near.where} does not say what it is: the answer has {error.error_count()} mistakes"
            ) from None

    def show(self) -> None:
        """Set the gauges; a site without another one has none."""
        standing = self.database.run(site.find)
        for gauge in (self._states, self._term, self._heard, self._watched):
            gauge.clear()
        if standing is None:
            return
        for state in ("leads", "follows", "fenced"):
            self._states.labels(state).set(standing.state == state)
        self._term.labels(standing.role).set(standing.term)
        self._watched.labels(standing.role).set(standing.watched_at.timestamp())
        if standing.heard_at is not None:
            self._heard.labels(standing.role).set(standing.heard_at.timestamp())

"""Times a whole call of the storage area, and logs its failure once."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from hapacs_node import log
from hapacs_node.errors import NodeError
from hapacs_node.metrics import Metrics

_LOG = log.get("storage")


@contextmanager
def reported(metrics: Metrics, doing: str, uuid: UUID) -> Iterator[None]:
    """Time a call and count its failure.

    Parameters
    ----------
    metrics : Metrics
        Times and failures.
    doing : str
        ``create``, ``read`` or ``remove``.
    uuid : UUID
        The attachment.
    """
    try:
        with metrics.step(doing):
            yield
    except BaseException as error:
        what = error if isinstance(error, NodeError) else repr(error)
        _LOG.error(log.line(f"{doing}_failed", uuid=uuid, error=what))
        raise

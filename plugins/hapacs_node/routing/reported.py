"""A report of storage commitment about images that left: it ends their tasks, on whichever node it comes."""

from hapacs_node import log
from hapacs_node.catalog import outbound_commitment
from hapacs_node.catalog.database import Database
from hapacs_node.catalog.outbound_commitment import Report
from hapacs_node.errors import NodeError
from hapacs_node.outbox import answers
from hapacs_node.outbox.backoff import IMAGE
from hapacs_node.routing.commit import INVALID_ARGUMENT, PROCESSING_FAILURE, SUCCESS

_LOG = log.get("routing")


def take(database: Database, peer: str, told: Report) -> int:
    """Record a report, and return the status of its answer.

    Parameters
    ----------
    database : Database
        The catalog's.
    peer : str
        AE title that reports.
    told : Report
        What it says. An image that is in both of its lists counts as failed.
    """
    ends = {sop: answers.reported(None) for sop in told.committed}
    ends |= {sop: answers.reported(failure) for sop, failure in told.failed.items()}
    try:
        changed = database.run(lambda c: outbound_commitment.report(c, peer, told, ends, IMAGE))
    except NodeError as error:
        # The peer keeps its report, and sends it again; if it does not, it is asked again.
        _LOG.error(log.line("report_not_kept", peer=peer, transaction=told.transaction, error=error))
        return PROCESSING_FAILURE
    if changed is None:
        _LOG.warning(log.line("report_unknown", peer=peer, transaction=told.transaction))
        return INVALID_ARGUMENT
    _LOG.info(
        log.line(
            "report_taken", peer=peer, transaction=told.transaction, committed=len(told.committed),
            failed=len(told.failed), confirmed=changed.get("confirmed", 0),
        )
    )  # fmt: skip
    return SUCCESS

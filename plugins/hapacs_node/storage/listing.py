"""Lists the objects of the archive as a stream, and goes on at another gateway after a failure."""

import time
from collections.abc import Iterator

from hapacs_node.storage.client import Client, Listed
from hapacs_node.storage.failures import FAILURES, brief, undone
from hapacs_node.storage.gateways import Gateways


def listed(gateways: Gateways[Client], folder: str, deadline_s: float) -> Iterator[Listed]:
    """List all objects below a folder of the archive, in one stream.

    The objects of a folder come together, and folders come in the order of their names. Within a folder the order is
    that of the gateway, and after a failure an object may come twice. A gateway that has lost its metadata store may
    leave objects out, so "not listed" has to be confirmed by `Cas.head`.

    Parameters
    ----------
    gateways : Gateways
        In order of preference.
    folder : str
        A folder of the archive, without a slash at its end.
    deadline_s : float
        Longest time until the next page, over all gateways, seconds.

    Raises
    ------
    CasUnavailableError
        When no gateway returned the next page before the deadline.
    """
    after: str | None = None
    advanced = True
    while advanced:
        advanced = False
        reasons: dict[str, str] = {}
        for gateway in gateways.until(time.monotonic() + deadline_s):
            try:
                for page in gateway.client.pages(folder, after):
                    yield from page
                    after, advanced = page[-1].key, True
            except FAILURES as error:
                reasons[gateway.url] = brief(error)
                gateways.failed(gateway, brief(error))
                if advanced:
                    break
                continue
            gateways.worked(gateway)
            return
    raise undone("list", deadline_s, reasons)

"""Reports one image of a node: its copies, and its events in the journal."""

from collections.abc import Callable
from typing import Any

from hapacs_node.lookup import Lookup

Find = Callable[[str, str], list[dict[str, str]]]


def of_instance(lookup: Lookup, find: Find, name: str) -> dict[str, Any]:
    """Report on an instance; also on one that was removed from the index, while the journal has its events.

    Parameters
    ----------
    lookup : Lookup
        Index, catalog, DAS and archive.
    find : callable
        Finds events by a field, as `journal.find`.
    name : str
        SOP Instance UID or Orthanc's identifier.

    Returns
    -------
    dict
        ``{"ok", "node", "objects": [...], "events": [...]}``, fit for JSON. `objects` is what `Lookup.by_instance`
        reports; `ok` means that there is at least one and that all are ok.

    Raises
    ------
    NodeError
    """
    objects = lookup.by_instance(name)
    names = sorted({str(one["sop"]) for one in objects if "sop" in one} or {name})
    events = [event for sop in names for event in find("sop", sop)]
    known = {one["digest"] for one in objects}
    removed = dict.fromkeys(event["digest"] for event in events if event.get("digest", None) not in {None, *known})
    for digest in removed:
        report = lookup.by_digest(digest)
        if report["catalog"]:
            objects.append({"sop": names[0], **report})
    ok = bool(objects) and all(bool(one["ok"]) for one in objects)
    return {"ok": ok, "node": lookup.node, "objects": objects, "events": events}

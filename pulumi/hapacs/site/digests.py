"""Digests over rows of the live database and of a restored one, which do not depend on the order of rows.

Rows fall into buckets by their UUID. A bucket that is the same before and after the restore was not changed meanwhile,
so the restored one has to be the same too. Others say nothing: their rows were updated or removed. Rows that were
stored after the beginning are left out, or each bucket would change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hapacs.site.database import literal

BUCKETS = 1024
# Rows of the catalog and those of Orthanc's index that belong to them; `o` is their object.
_ROWS: Mapping[str, tuple[str, str]] = {
    "hapacs.object": ("o", "hapacs.object o"),
    "hapacs.instance": ("i", "hapacs.instance i join hapacs.object o on o.uuid = i.uuid"),
    "attachedfiles": ("f", "attachedfiles f join hapacs.object o on o.uuid::text = f.uuid"),
}
# PostgreSQL's own hashes of values: no text is made of a row, which would take three times as long and depend on the
# time zone. They are the same on both sides because a restored cluster has the same version.
_DIGEST = """
select bucket, count(*), bit_xor(digest), sum(digest) from (
    select uuid_hash_extended(o.uuid, 0) & {last} as bucket, hash_record_extended({row}, 0) as digest
    from {rows} where o.stored_at < {until}
) as row group by bucket order by bucket
"""


def statements(until: str) -> dict[str, str]:
    """Return what asks for the digests of each table.

    Parameters
    ----------
    until
        Rows of objects that were stored before this time count, as PostgreSQL writes it.
    """
    at = f"{literal(until)}::timestamptz"
    return {
        table: " ".join(_DIGEST.format(last=BUCKETS - 1, row=row, rows=rows, until=at).split())
        for table, (row, rows) in _ROWS.items()
    }


def compared(before: Sequence[str], restored: Sequence[str], after: Sequence[str]) -> dict[str, Any]:
    """Compare the digests of one table, each a row ``bucket|count|xor|sum``.

    Returns
    -------
    dict
        ``rows`` that were compared, buckets that are ``different`` and those that ``changed`` meanwhile, and ``ok``.
    """
    first, found, last = (dict(row.split("|", 1) for row in rows) for rows in (before, restored, after))
    still = [bucket for bucket in first.keys() | last.keys() | found.keys() if first.get(bucket) == last.get(bucket)]
    different = [bucket for bucket in still if found.get(bucket) != first.get(bucket)]
    return {
        "rows": sum(int(first[bucket].split("|")[0]) for bucket in still if bucket in first),
        "different": len(different),
        "changed": len(first.keys() | last.keys()) - sum(bucket in first for bucket in still),
        "ok": not different,
    }

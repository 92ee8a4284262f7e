"""Searches the query tables; Orthanc's index decides which images there are."""

from collections.abc import Iterable, Sequence
from typing import Any

from hapacs_node.catalog import corrections
from hapacs_node.catalog.database import Connection
from hapacs_node.correction.patient import is_patients, replaced
from hapacs_node.query.attributes import Level
from hapacs_node.query.criteria import Counts, Criterion, Found, Search

type _Row = tuple[str, str, int, Sequence[str]]

_PATIENT_NAME, _PATIENT_ID = "00100010", "00100020"
# Tables of the levels, as they are called in a query.
_TABLES = {Level.STUDY: "t", Level.SERIES: "r", Level.INSTANCE: "i"}
# Attributes that have a column of their own, with an index.
_COLUMNS = {
    "0020000D": {Level.STUDY: "t.uid", Level.SERIES: "r.study", Level.INSTANCE: "i.study"},
    "0020000E": {Level.SERIES: "r.uid", Level.INSTANCE: "i.series"},
    "00080018": {Level.INSTANCE: "i.sop"},
    "00080016": {Level.INSTANCE: "i.sop_class"},
    "00080060": {Level.SERIES: "r.modality"},
    "00080050": {Level.STUDY: "t.accession"},
    "00080020": {Level.STUDY: "t.date"},
    "00080030": {Level.STUDY: "t.time"},
}
_GIVEN = (
    "exists (select from attachedfiles a where a.uuid = i.uuid::text) "
    f"and not {corrections.hidden('i.study', 'i.series')}"
)
# `offset 0` keeps PostgreSQL from joining: each row is tested until the page is full.
_LIVE = {
    Level.STUDY: f"exists (select from hapacs.instance i where i.study = t.uid and {_GIVEN} offset 0)",
    Level.SERIES: "exists (select from hapacs.instance i "
    f"where i.study = r.study and i.series = r.uid and {_GIVEN} offset 0)",
    Level.INSTANCE: _GIVEN,
}
_BELOW = {
    (Level.STUDY, Level.SERIES): "exists (select from hapacs.series r where r.study = t.uid and {0} "
    f"and not {corrections.hidden('r.study', 'r.uid')})",
    (Level.STUDY, Level.INSTANCE): "exists (select from hapacs.instance i where i.study = t.uid and {0} "
    f"and not {corrections.hidden('i.study', 'i.series')})",
    (Level.SERIES, Level.INSTANCE): "exists (select from hapacs.instance i "
    "where i.study = r.study and i.series = r.uid and {0})",
}
_SELECT = {
    Level.STUDY: "select t.uid, null, null, t.shown from hapacs.study t",
    Level.SERIES: "select r.study, r.uid, null, t.shown || r.shown from hapacs.series r "
    "join hapacs.study t on t.uid = r.study",
    Level.INSTANCE: "select i.study, i.series, i.sop, t.shown || r.shown || i.shown from hapacs.instance i "
    "join hapacs.series r on r.study = i.study and r.uid = i.series join hapacs.study t on t.uid = i.study",
}
# The newest study first; a series' images in their order.
_ORDER = {
    Level.STUDY: "t.date desc, t.time desc, t.uid",
    Level.SERIES: "t.date desc, t.time desc, t.uid, r.uid",
    Level.INSTANCE: "t.date desc, t.time desc, t.uid, r.uid, i.number, i.sop",
}

_COUNTS = f"""
select r.study, r.uid, r.modality, count(*), array_agg(distinct i.sop_class)
from hapacs.series r join hapacs.instance i on i.study = r.study and i.series = r.uid
where r.study = any(%(studies)s) and not {corrections.hidden("r.study", "r.uid")} group by r.study, r.uid
"""  # noqa: S608 - constants


def search(connection: Connection, asked: Search) -> list[Found]:
    """Return the answers to a search, the newest studies first."""
    parameters: dict[str, Any] = {"limit": asked.limit, "offset": asked.offset}
    conditions = [_LIVE[asked.level]]
    for level in Level:
        tests = [
            _test(criterion, _at(criterion, asked.level), number, parameters)
            for number, criterion in enumerate(asked.criteria)
            if _at(criterion, asked.level) == level
        ]
        if level <= asked.level:
            conditions += tests
        elif tests:
            # All keys of a level hold for the same series or instance.
            conditions.append(_BELOW[asked.level, level].format(" and ".join(tests)))
    query = (
        f"{_SELECT[asked.level]} where {' and '.join(conditions)} order by {_ORDER[asked.level]} "
        "limit %(limit)s offset %(offset)s"
    )
    rows = connection.execute(query, parameters).fetchall()
    studies = {row[0] for row in rows}
    counts = _counts(connection, studies)
    patients = corrections.moves(connection, studies)
    return [
        Found(
            study,
            series,
            sop,
            replaced(shown, patients[study]) if study in patients else shown,
            _sum(counts.get(study, []), series),
        )
        for study, series, sop, shown in rows
    ]


def _at(criterion: Criterion, level: Level) -> Level:
    """Return the level at which a key is tested; a UID is in the tables of all lower levels too."""
    columns = _COLUMNS.get(criterion.path, {})
    return level if criterion.path in {"0020000D", "0020000E"} and level in columns else criterion.level


def _test(criterion: Criterion, level: Level, number: int, parameters: dict[str, Any]) -> str:
    name = f"v{number}"
    parameters[name] = list(criterion.values)
    if criterion.path == _PATIENT_NAME:
        operator = "like" if criterion.wild else "="
        return f"t.uid in (select n.study from {corrections.NAMES} n where n.name {operator} any(%({name})s))"  # noqa: S608
    if criterion.path == _PATIENT_ID:
        test = _compare(criterion, "p.patient_id", name, parameters)
        return f"t.uid in (select p.study from {corrections.PATIENTS} p where {test})"  # noqa: S608
    column = _COLUMNS.get(criterion.path, {}).get(level)
    if column is not None:
        return _compare(criterion, column, name, parameters)
    parameters[f"{name}_path"] = criterion.path
    found = f"{_TABLES[level]}.found"
    if level is Level.STUDY and is_patients(criterion.path):
        found = corrections.found_of(_TABLES[level])
    values = f"jsonb_array_elements_text({found} -> %({name}_path)s) as value"
    return (
        f"{found} ? %({name}_path)s and exists (select from {values} "
        f"where {_compare(criterion, 'value', name, parameters)})"
    )


def _compare(criterion: Criterion, column: str, name: str, parameters: dict[str, Any]) -> str:
    if criterion.span is not None:
        parameters[f"{name}_first"], parameters[f"{name}_last"] = criterion.span
        # Without a date or time an image is in no range.
        tests = [f"{column} <> ''"]
        tests += [f"{column} >= %({name}_first)s"] if criterion.span[0] else []
        tests += [f"{column} <= %({name}_last)s"] if criterion.span[1] else []
        return " and ".join(tests)
    return f"{column} {'like' if criterion.wild else '='} any(%({name})s)"


def _counts(connection: Connection, studies: Iterable[str]) -> dict[str, list[_Row]]:
    """Return series, modality, number of instances and SOP Classes of each series, by study."""
    found: dict[str, list[_Row]] = {}
    for study, *row in connection.execute(_COUNTS, {"studies": list(studies)}):
        found.setdefault(study, []).append(tuple(row))
    return found


def _sum(rows: Sequence[_Row], series: str | None) -> Counts:
    return Counts(
        series=len(rows),
        instances=sum(instances for _, _, instances, _ in rows),
        series_instances=sum(instances for uid, _, instances, _ in rows if uid == series),
        modalities=sorted({modality for _, modality, _, _ in rows if modality}),
        classes=sorted({name for *_, classes in rows for name in classes if name}),
    )

"""Table `hapacs.prefetch`: priors that were looked for when a study came, and what was found.

Priors are found in the query tables. Their images are those that the index has.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from hapacs_node.catalog import corrections
from hapacs_node.catalog.database import Connection

# Patients are the same only with the same issuer: two hospitals give the same number to two people. BodyPartExamined is
# 0018,0015 and IssuerOfPatientID 0010,0021, as `hapacs_node.query.header` keeps them. A new study without one of the
# attributes has no prior by it.
_PRIORS = f"""
with new as (
    select t.uid, p.patient_id, p.found -> '00100021' as issuer,
        array(select modality from hapacs.series where study = t.uid and modality <> '') as modalities,
        array(select p.value from hapacs.series r, jsonb_array_elements_text(r.found -> '00180015') as p (value)
              where r.study = t.uid) as parts
    from hapacs.study t join {corrections.PATIENTS} p on p.study = t.uid
    where t.uid = %(study)s and p.patient_id <> ''
), prior as (
    select t.uid from new join {corrections.PATIENTS} p on p.patient_id = new.patient_id and p.study <> new.uid
    join hapacs.study t on t.uid = p.study
    where p.found -> '00100021' is not distinct from new.issuer and exists (
        select from hapacs.series r where r.study = t.uid and (
            %(modality)s and r.modality = any(new.modalities)
            or %(body_part)s and r.found -> '00180015' ?| new.parts))
    and exists (
        select from hapacs.instance i join attachedfiles a on a.uuid = i.uuid::text where i.study = t.uid offset 0)
    order by t.date desc, t.time desc, t.uid
    limit %(newest)s
)
select o.uuid, i.study, i.series, i.sop, i.sop_class, coalesce(syntax.value, ''), o.size, o.node
from prior
join hapacs.instance i on i.study = prior.uid and not {corrections.hidden("i.study", "i.series")}
join attachedfiles file on file.uuid = i.uuid::text and file.filetype = 1
join hapacs.object o on o.uuid = i.uuid and o.tombstoned_at is null
left join metadata syntax on syntax.id = file.id and syntax.type = 9
order by i.study, i.series, i.number, i.sop
"""  # noqa: S608 - constants

_NOTE = """
insert into hapacs.prefetch (study, rule, images) values (%(study)s, %(rule)s, %(images)s)
on conflict (study, rule) do nothing
"""

_SINCE = """
select id, study, images from hapacs.prefetch
where id > %(last)s and planned_at > clock_timestamp() - %(within_s)s * interval '1 second' order by id limit 100
"""


@dataclass(frozen=True)
class Prior:
    """An image of a prior.

    Attributes
    ----------
    uuid : UUID
        Its attachment.
    study, series, sop, sop_class, transfer_syntax : str
        Its UIDs; the transfer syntax is empty when the index does not have it.
    size : int
        Bytes.
    node : str
        The node that stored it.
    """

    uuid: UUID
    study: str
    series: str
    sop: str
    sop_class: str
    transfer_syntax: str
    size: int
    node: str


@dataclass(frozen=True)
class Wanted:
    """Priors that were looked for.

    Attributes
    ----------
    id : int
        Its number.
    study : str
        The new study.
    images : list of UUID
        The images of its priors.
    """

    id: int
    study: str
    images: list[UUID]


def is_known(connection: Connection, study: str, rule: str) -> bool:
    """Return whether the priors of a study were already looked for."""
    found = connection.execute("select from hapacs.prefetch where study = %s and rule = %s", [study, rule])
    return found.fetchone() is not None


def priors(connection: Connection, study: str, newest: int, *, modality: bool, body_part: bool) -> list[Prior]:
    """Return the images of the newest priors of a study's patient that share modality or body part with it."""
    parameters = {"study": study, "newest": newest, "modality": modality, "body_part": body_part}
    return [Prior(*row) for row in connection.execute(_PRIORS, parameters)]


def note(connection: Connection, study: str, rule: str, images: Sequence[UUID]) -> bool:
    """Keep what was found; return whether it is new."""
    return connection.execute(_NOTE, {"study": study, "rule": rule, "images": list(images)}).rowcount > 0


def since(connection: Connection, last: int, within_s: float) -> list[Wanted]:
    """Return what was found after a number, and not longer ago than some seconds."""
    return [Wanted(*row) for row in connection.execute(_SINCE, {"last": last, "within_s": within_s})]

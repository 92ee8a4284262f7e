"""Corrections of studies on a real PostgreSQL: what clients find and get afterwards."""

import json
from collections.abc import Callable
from io import BytesIO
from typing import Any
from uuid import UUID

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import generate_uid

from hapacs_node.catalog import corrections, prefetch
from hapacs_node.catalog.corrections import Reason
from hapacs_node.catalog.database import Connection
from hapacs_node.catalog.retrieval import Named
from hapacs_node.catalog.selection import Selection
from hapacs_node.catalog.tasks import Task
from hapacs_node.correction import file
from hapacs_node.correction.moving import Mover, Target
from hapacs_node.correction.operator import Corrector
from hapacs_node.correction.outgoing import HiddenError, Outgoing
from hapacs_node.correction.patient import Move
from hapacs_node.errors import BadRequestError, NodeError, RefusedError
from hapacs_node.node import Node
from hapacs_node.query import web
from hapacs_node.query.attributes import Level
from hapacs_node.query.cfind import Finder, Path
from hapacs_node.query.criteria import Search, criterion
from hapacs_node.query.qido import Request
from tests.storage import index
from tests.storage.indexed import Indexed
from tests.support.images import ct

WRONG = Reason("anna", "wrong patient on the table")
STUDY, FIRST, SECOND = (generate_uid() for _ in range(3))


@pytest.fixture
def node(make_node: Callable[..., Node], server: index.Server) -> Node:  # noqa: ARG001 - it makes the database
    return make_node(database={"name": index.NAME})


@pytest.fixture
def indexed(node: Node, server: index.Server) -> Indexed:
    """A study of two series, with two images and one."""
    made = Indexed(node, server.connection)
    for series in (FIRST, FIRST, SECOND):
        made.store(ct(StudyInstanceUID=STUDY, SeriesInstanceUID=series, PatientID="p1"))
    return made


@pytest.fixture
def corrector(node: Node) -> Corrector:
    return Corrector(node.database)


def found(node: Node, level: Level, tag: int = 0x0020000D, text: str = STUDY) -> list[str]:
    """Return the series of the answers to a search, or the studies."""
    wanted = criterion((tag,), text)
    assert wanted is not None
    return [one.series or one.study for one in node.storage.catalog.search(Search(level, (wanted,)))]


def given(node: Node) -> tuple[int, int]:
    """Return how many images of the study come by WADO-RS and by C-MOVE."""
    catalog = node.storage.catalog
    return len(catalog.retrieve(Named(STUDY))), len(catalog.select(Selection(studies=(STUDY,))))


def test_a_hidden_study_is_neither_found_nor_given_until_it_is_shown_again(
    node: Node, indexed: Indexed, corrector: Corrector
) -> None:
    assert found(node, Level.STUDY) == [STUDY]
    assert given(node) == (3, 3)
    assert not corrector.hide(STUDY, "", WRONG, dry=True).done
    assert given(node) == (3, 3)
    hidden = corrector.hide(STUDY, "", WRONG, dry=False)
    assert (hidden.done, hidden.images) == (True, 3)
    # What comes later is hidden as well.
    indexed.store(ct(StudyInstanceUID=STUDY, SeriesInstanceUID=FIRST, PatientID="p1"))
    assert [found(node, level) for level in Level] == [[], [], []]
    assert given(node) == (0, 0)
    assert not corrector.hide(STUDY, "", WRONG, dry=False).done
    shown = corrector.unhide(STUDY, "", WRONG, dry=False)
    assert (shown.done, shown.number) == (True, hidden.number)
    assert found(node, Level.STUDY) == [STUDY]
    assert given(node) == (4, 4)
    with pytest.raises(RefusedError, match="is not hidden"):
        corrector.unhide(STUDY, "", WRONG, dry=False)


@pytest.mark.usefixtures("indexed")
def test_of_a_study_with_a_hidden_series_the_others_are_found_and_given(node: Node, corrector: Corrector) -> None:
    corrector.hide(STUDY, FIRST, WRONG, dry=False)
    assert found(node, Level.STUDY) == [STUDY]
    assert found(node, Level.SERIES) == [SECOND]
    assert found(node, Level.INSTANCE) == [SECOND]
    assert found(node, Level.SERIES, 0x0020000E, FIRST) == []
    (answer,) = node.storage.catalog.search(Search(Level.STUDY))
    assert (answer.counts.series, answer.counts.instances) == (1, 1)
    assert given(node) == (1, 1)
    assert node.storage.catalog.retrieve(Named(STUDY, FIRST)) == []
    assert node.storage.catalog.select(Selection(series=(FIRST,))) == []
    corrector.hide(STUDY, SECOND, WRONG, dry=False)
    assert found(node, Level.STUDY) == []


def test_a_deleted_study_is_removed_series_by_series_and_its_restoration_is_recorded(
    indexed: Indexed, corrector: Corrector
) -> None:
    removed: list[str] = []
    assert not corrector.delete(STUDY, "", WRONG, removed.append, dry=True).done
    assert not removed
    with pytest.raises(NodeError, match=r"3 images of study .* in the index still"):
        corrector.delete(STUDY, "", WRONG, removed.append, dry=False)
    assert corrector.delete(STUDY, FIRST, WRONG, indexed.remove, dry=False).images == 2
    assert corrector.delete(STUDY, "", WRONG, indexed.remove, dry=False).images == 1
    with pytest.raises(RefusedError, match="has no image"):
        corrector.delete(STUDY, "", WRONG, indexed.remove, dry=False)
    shown = corrector.show(STUDY)
    assert (shown.series, shown.removed.images, shown.removed.callers) == ([], 3, ("user:anna",))
    assert [one.ended_at is None for one in shown.corrections] == [True, True, True]
    corrector.restored(STUDY, "ben")
    assert {one.ended_by for one in corrector.show(STUDY).corrections} == {"ben"}


def test_a_study_is_shown_under_each_patient_id_with_callers_and_corrections(
    indexed: Indexed, corrector: Corrector
) -> None:
    indexed.store(ct(StudyInstanceUID=STUDY, SeriesInstanceUID=FIRST, PatientID="p2"), "user:ben")
    corrector.hide(STUDY, FIRST, WRONG, dry=False)
    shown = corrector.show(STUDY)
    assert [(one.patient_id, one.uid, one.modality, one.images, one.callers, one.hidden) for one in shown.series] == [
        ("p1", FIRST, "CT", 2, ("title:CT1",), True),
        ("p1", SECOND, "CT", 1, ("title:CT1",), False),
        ("p2", FIRST, "CT", 1, ("user:ben",), True),
    ]
    assert all(one.size > 0 and one.last_at is not None for one in shown.series)
    (made,) = shown.corrections
    assert (made.kind, made.series, made.who, made.why, made.ended_at) == ("hide", FIRST, *vars(WRONG).values(), None)
    assert not corrector.show(generate_uid()).is_known
    with pytest.raises(RefusedError, match="check the UID"):
        corrector.hide(STUDY, generate_uid(), WRONG, dry=False)
    with pytest.raises(RefusedError, match="needs who"):
        Reason("anna", " ")


@pytest.mark.usefixtures("indexed")
@pytest.mark.parametrize(
    ("path", "of_first", "of_study"),
    [
        ("/dicom-web/studies/{s}/series/{a}/instances/1.2/bulk/7FE00010", False, False),
        ("/dicom-web/studies/{s}/series/{b}/rendered", True, False),
        ("/dicom-web/studies/{s}/rendered", False, False),
        ("/dicom-web/studies/{s}/metadata", False, False),
        ("/dicom-web/studies", False, False),
        ("/dicom-web/studies/1.2/metadata", True, True),
        ("/dicom-web/studies/1.2/series/1.3/instances/1.4/bulk/7FE00010", True, True),
        ("/system", True, True),
    ],
)
def test_orthanc_answers_nothing_that_shows_a_hidden_series(
    node: Node, corrector: Corrector, path: str, of_first: bool, of_study: bool
) -> None:
    named = path.format(s=STUDY, a=FIRST, b=SECOND)
    assert node.gate.passes(named)
    corrector.hide(STUDY, FIRST, WRONG, dry=False)
    assert node.gate.passes(named) == of_first
    corrector.hide(STUDY, "", WRONG, dry=False)
    assert node.gate.passes(named) == of_study
    corrector.unhide(STUDY, FIRST, WRONG, dry=False)
    corrector.unhide(STUDY, "", WRONG, dry=False)
    assert node.gate.passes(named)


WRONG_PATIENT = {"PatientID": "W1", "PatientName": "Wrong^Person", "PatientAge": "054Y", "PatientSex": "M"}
RIGHT_PATIENT = {
    "PatientID": "R7", "PatientName": "Right^Persón", "PatientBirthDate": "19800101", "PatientSex": "F",
    "IssuerOfPatientID": "HOSP",
}  # fmt: skip
RIGHT = Target(RIGHT_PATIENT)


@pytest.fixture
def mover(node: Node) -> Mover:
    return Mover(node.database)


def store(indexed: Indexed, patient: dict[str, str], study: str, **attributes: object) -> None:
    indexed.store(ct(**{**patient, "PatientWeight": 80, "StudyInstanceUID": study, **attributes}))


@pytest.fixture
def twice(node: Node, server: index.Server) -> Indexed:
    """A study that was sent under two patient IDs, and one that the right patient has."""
    made = Indexed(node, server.connection)
    store(made, {**WRONG_PATIENT, "PatientID": "W0"}, STUDY)
    store(made, WRONG_PATIENT, STUDY)
    return made


def qido(node: Node, target: str) -> list[dict[str, Any]]:
    request = Request.of(f"/dicom-web/{target}")
    assert request is not None
    found: list[dict[str, Any]] = json.loads(web.reply(request, node.storage.catalog.search, "pacs", "QR").body)
    return found


def cfind(node: Node, level: str, **keys: str) -> list[Dataset]:
    made: dict[Path, str] = {(0x00080052,): level, (0x00100010,): "", (0x00100020,): "", (0x0020000D,): ""}
    named = {"name": 0x00100010, "id": 0x00100020, "study": 0x0020000D}
    made |= {(named[key],): value for key, value in keys.items()}
    return list(Finder(node.storage.catalog.search).find(made, "WS", "QR").answers)


def given_files(node: Node, study: str = STUDY) -> list[Dataset]:
    """Return the data sets of a study as WADO-RS gives them."""
    instances = node.storage.catalog.retrieve(Named(study))
    contents = node.storage.reader.read_all([one.object for one in instances])
    return [
        dcmread(BytesIO(file.given(content, one.move, node.storage.undeclared)))
        for one, content in zip(instances, contents, strict=True)
    ]


def of(patient: dict[str, str]) -> dict[str, str]:
    return {keyword: patient.get(keyword, "") for keyword in ("PatientID", "PatientName", "PatientSex")}


def patients(datasets: list[Dataset]) -> list[dict[str, str]]:
    return [{keyword: str(one.get(keyword, "")) for keyword in of({})} for one in datasets]


def test_a_study_under_two_patient_ids_is_found_and_given_under_the_right_one(
    node: Node, twice: Indexed, mover: Mover
) -> None:
    assert len(cfind(node, "STUDY", id="W1")) == 1
    dry = mover.move(STUDY, RIGHT, WRONG, dry=True)
    assert (dry.done, dry.images, dry.before["PatientID"], dry.after) == (False, 2, "W1", RIGHT_PATIENT)
    assert patients(given_files(node)) == [of({**WRONG_PATIENT, "PatientID": "W0"}), of(WRONG_PATIENT)]
    assert mover.move(STUDY, RIGHT, WRONG, dry=False).done
    # What comes later is corrected as well.
    store(twice, WRONG_PATIENT, STUDY)
    for level in ("PATIENT", "STUDY", "SERIES", "IMAGE"):
        assert cfind(node, level, id="W1") == cfind(node, level, id="W0") == cfind(node, level, name="wrong*") == []
        answers = cfind(node, level, id="R7", name="right^person")
        assert {(one.PatientID, str(one.PatientName)) for one in answers} == {("R7", "Right^Persón")}
    for key in ("IssuerOfPatientID=HOSP", "PatientBirthDate=1979-1981", "PatientSex=F", "PatientWeight=80"):
        assert len(qido(node, f"studies?StudyInstanceUID={STUDY}&{key.replace('1979-1981', '19790101-19811231')}")) == 1
    for key in ("PatientAge=054Y", "PatientSex=M"):
        assert qido(node, f"studies?StudyInstanceUID={STUDY}&{key}") == []
    assert patients(given_files(node)) == [of(RIGHT_PATIENT)] * 3
    assert [one.move is not None for one in node.storage.catalog.select(Selection(studies=(STUDY,)))] == [True] * 3
    body = node.retrieval.metadata.of(node.storage.catalog.retrieve(Named(STUDY)), "https://pacs/dicom-web")
    metadata = [Dataset.from_json(one) for one in json.loads(body)]
    assert patients(metadata) == [of(RIGHT_PATIENT)] * 3
    before = [one.OriginalAttributesSequence[0].ModifiedAttributesSequence[0] for one in metadata]
    assert [one.PatientID for one in before] == ["W0", "W1", "W1"]


def test_a_moved_study_is_given_as_it_was_received_when_the_move_is_undone(
    node: Node, twice: Indexed, mover: Mover, corrector: Corrector
) -> None:
    assert twice.node is node
    instances = node.storage.catalog.retrieve(Named(STUDY))
    received = list(node.storage.reader.read_all([one.object for one in instances]))
    mover.move(STUDY, RIGHT, WRONG, dry=False)
    mover.move(STUDY, Target({"PatientID": "R8", "PatientName": "Again"}), Reason("ben", "once more"), dry=False)
    assert corrector.show(STUDY).patient["PatientID"] == "R8"
    assert len(cfind(node, "STUDY", id="R7")) == 0
    assert not mover.unmove(STUDY, WRONG, dry=True).done
    assert mover.unmove(STUDY, WRONG, dry=False).done
    assert [one.move for one in node.storage.catalog.retrieve(Named(STUDY))] == [None, None]
    assert [str(one.PatientID) for one in cfind(node, "STUDY", study=STUDY)] == ["W1"]
    assert list(node.storage.reader.read_all([one.object for one in instances])) == received
    assert [(one.kind, one.ended_by) for one in corrector.show(STUDY).corrections] == [
        ("move", "ben"),
        ("move", "anna"),
    ]
    with pytest.raises(RefusedError, match="was not moved"):
        mover.unmove(STUDY, WRONG, dry=False)


def test_all_studies_of_a_patient_are_merged_into_those_of_another(
    node: Node, server: index.Server, mover: Mover
) -> None:
    indexed, (one, two, three) = Indexed(node, server.connection), (generate_uid() for _ in range(3))
    store(indexed, WRONG_PATIENT, one)
    store(indexed, {**WRONG_PATIENT, "IssuerOfPatientID": "OLD"}, two)
    store(indexed, RIGHT_PATIENT, three)
    into = Target({"PatientID": "R7"})
    dry = mover.merge({"PatientID": "W1"}, into, WRONG, dry=True)
    assert (set(dry.studies), dry.images, dry.after) == ({one, two}, 2, RIGHT_PATIENT)
    old = mover.merge({"PatientID": "W1", "IssuerOfPatientID": "OLD"}, into, WRONG, dry=False)
    assert old.studies == (two,)
    assert {answer.StudyInstanceUID for answer in cfind(node, "STUDY", id="R7")} == {two, three}
    assert len(cfind(node, "PATIENT", id="R7")) == 1
    assert mover.merge({"PatientID": "W1"}, into, WRONG, dry=False).done
    assert len(cfind(node, "STUDY", id="R7")) == 3
    with pytest.raises(RefusedError, match="no study has the patient ID"):
        mover.merge({"PatientID": "W1"}, into, WRONG, dry=False)
    # A corrected study counts for its new patient when priors are looked for.
    priors = node.database.run(lambda c: prefetch.priors(c, three, 5, modality=True, body_part=False))
    assert {prior.study for prior in priors} == {one, two}
    assert node.database.run(lambda c: prefetch.priors(c, generate_uid(), 5, modality=True, body_part=False)) == []


def test_a_patient_that_is_not_certain_is_refused(node: Node, server: index.Server, mover: Mover) -> None:
    indexed, other, third = Indexed(node, server.connection), generate_uid(), generate_uid()
    store(indexed, WRONG_PATIENT, STUDY)
    store(indexed, RIGHT_PATIENT, other)
    assert mover.move(STUDY, Target(like=other), WRONG, dry=True).after == RIGHT_PATIENT
    store(indexed, {**RIGHT_PATIENT, "PatientName": "Right^P"}, third)
    for target, error in (
        (Target({"PatientID": "R7"}), "have different patients"),
        (Target({"PatientID": "R9"}), "give name, birth date and sex"),
        (Target(like=generate_uid()), "do not know study"),
        (Target({"PatientID": "R7"}, like=other), "no attribute is to be given"),
        (Target(), "patient ID is empty"),
        (Target({"PatientName": "X"}), "PatientID is empty"),
    ):
        with pytest.raises((RefusedError, BadRequestError), match=error):
            mover.move(STUDY, target, WRONG, dry=False)
    with pytest.raises(RefusedError, match="check the UID"):
        mover.move(generate_uid(), RIGHT, WRONG, dry=False)
    assert node.storage.catalog.retrieve(Named(STUDY))[0].move is None


def test_a_destination_gets_images_with_their_corrections_and_nothing_that_is_hidden(
    node: Node, twice: Indexed, mover: Mover, corrector: Corrector
) -> None:
    times = iter(range(0, 1000, 3))
    first, second = (task_of(twice, ct(**WRONG_PATIENT, StudyInstanceUID=STUDY, SeriesInstanceUID="1.9")) for _ in "ab")

    def received(task: Task) -> bytes:
        return node.storage.reader.read(task.uuid)

    outgoing = Outgoing(node.database, received, node.storage.undeclared, lambda: float(next(times)))
    assert outgoing.read(first) == received(first)
    mover.move(STUDY, RIGHT, WRONG, dry=False)
    for task in (first, second):
        assert dcmread(BytesIO(outgoing.read(task))).PatientID == "R7"
    corrector.hide(STUDY, "", WRONG, dry=False)
    with pytest.raises(HiddenError, match="unhide"):
        outgoing.read(first)


def test_the_corrections_of_a_series_are_asked_for_once_in_two_seconds(
    node: Node, twice: Indexed, corrector: Corrector, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, asked = [100.0], list[UUID]()
    of_image = corrections.of_image

    def counted(connection: Connection, uuid: UUID) -> tuple[bool, Move | None] | None:
        asked.append(uuid)
        return of_image(connection, uuid)

    monkeypatch.setattr(corrections, "of_image", counted)
    gone, *tasks = (task_of(twice, ct(StudyInstanceUID=STUDY, SeriesInstanceUID="1.9")) for _ in range(4))
    outgoing = Outgoing(node.database, lambda _: b"", node.storage.undeclared, lambda: now[0])
    corrector.hide(STUDY, "1.9", WRONG, dry=False)
    # One that is in no study any more says nothing of the others.
    node.database.run(lambda c: c.execute("delete from hapacs.instance where uuid = %s", [gone.uuid]))
    assert outgoing._corrections(gone) == (False, None)
    for task in tasks:
        with pytest.raises(HiddenError):
            outgoing.read(task)
    assert asked == [gone.uuid, tasks[0].uuid]
    now[0] += 2.1
    with pytest.raises(HiddenError):
        outgoing.read(tasks[1])
    assert asked[2:] == [tasks[1].uuid]


def task_of(indexed: Indexed, content: bytes) -> Task:
    """Store an image, and return the task that sends it."""
    read = dcmread(BytesIO(content), stop_before_pixels=True)
    names = (str(read.StudyInstanceUID), str(read.SeriesInstanceUID), str(read.SOPInstanceUID))
    return Task(1, indexed.store(content), *names, "", "", len(content), "all", None, 1)

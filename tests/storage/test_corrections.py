"""Corrections of studies on a real PostgreSQL: what clients find and get afterwards."""

from collections.abc import Callable

import pytest
from pydicom.uid import generate_uid

from hapacs_node.catalog.corrections import Reason
from hapacs_node.catalog.retrieval import Named
from hapacs_node.catalog.selection import Selection
from hapacs_node.correction.operator import Corrector
from hapacs_node.errors import NodeError, RefusedError
from hapacs_node.node import Node
from hapacs_node.query.attributes import Level
from hapacs_node.query.criteria import Search, criterion
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
    assert [one.ended_at is None for one in corrector.show(STUDY).corrections] == [True, True, True]
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

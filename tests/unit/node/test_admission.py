"""Who is refused first, and when."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import pytest

from hapacs_node.admission import Admission, Level, Limit, State, of_archive, of_backlog, of_das
from hapacs_node.errors import DasError, NotAdmittedError
from hapacs_node.metrics import Metrics
from hapacs_node.settings import Admission as Limits
from hapacs_node.settings import Das

IMPORT = "title:IMPORT"


@dataclass
class Question:
    """Answers what the test says."""

    answer: State | Exception

    def __call__(self) -> State:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def question() -> Question:
    return Question(State(Level.FREE, "all of it"))


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def admission(question: Question, metrics: Metrics) -> Admission:
    return Admission(Limits(yielding=frozenset({IMPORT})), {Limit.DAS: (1, question)}, metrics)


@pytest.mark.parametrize(
    ("free", "level"),
    [
        (2000, "free"),
        (1750, "free"),
        (1749, "near"),
        (1500, "near"),
        (1499, "limited"),
        (1000, "limited"),
        (0, "limited"),
    ],
)
def test_half_of_the_way_below_eviction_is_kept(free: int, level: str) -> None:
    evict = {"below_free_bytes": 2000, "until_free_bytes": 3000}
    das = Das.model_validate({"root": "/srv/das", "minimum_free_bytes": 1000, "evict": evict})
    assert of_das(free, das).level == level


def test_without_eviction_there_is_no_way_to_keep() -> None:
    das = Das.model_validate({"root": "/srv/das", "minimum_free_bytes": 1000})
    assert (of_das(1000, das).level, of_das(999, das).level) == (Level.FREE, Level.LIMITED)


@pytest.mark.parametrize(
    ("age_s", "level"), [(0, "free"), (1800, "free"), (1801, "near"), (3600, "near"), (3601, "limited")]
)
def test_a_backlog_warns_at_half_of_its_age(age_s: float, level: str) -> None:
    assert of_backlog(age_s, 3600).level == level


def test_only_callers_that_yield_are_refused(admission: Admission, question: Question, metrics: Metrics) -> None:
    question.answer = State(Level.LIMITED, "1.0 GB free")
    admission.refresh(Limit.DAS)
    for caller in ("title:MODALITY", "user:IMPORT", None):
        admission.check(caller)
    with pytest.raises(NotAdmittedError, match=r"title:IMPORT yields .* das: 1\.0 GB free"):
        admission.check(IMPORT)
    shown = metrics.text().decode()
    assert 'hapacs_admission_refused_total{caller="title:IMPORT"} 1.0' in shown
    assert 'hapacs_admission_limited{limit="das"} 1.0' in shown


def test_a_limit_that_is_near_refuses_nobody_and_warns_once(
    admission: Admission, question: Question, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "hapacs.admission")
    question.answer = State(Level.NEAR, "little")
    admission.refresh(Limit.DAS)
    admission.refresh(Limit.DAS)
    admission.check(IMPORT)
    assert [(entry.levelname, "level=near" in entry.getMessage()) for entry in caplog.records] == [("WARNING", True)]


def test_it_ends_with_its_cause(admission: Admission, question: Question) -> None:
    question.answer = of_archive(works=False)
    admission.refresh(Limit.DAS)
    with pytest.raises(NotAdmittedError, match="takes no writes"):
        admission.check(IMPORT)
    question.answer = of_archive(works=True)
    admission.refresh(Limit.DAS)
    admission.check(IMPORT)


def test_a_question_that_fails_changes_nothing(admission: Admission, question: Question) -> None:
    question.answer = State(Level.LIMITED, "1.0 GB free")
    admission.refresh(Limit.DAS)
    question.answer = DasError("not mounted")
    admission.refresh(Limit.DAS)
    assert admission.report() == {"das": {"level": "limited", "detail": "1.0 GB free"}}
    with pytest.raises(NotAdmittedError):
        admission.check(IMPORT)


@pytest.mark.usefixtures("admission")
def test_each_limit_and_caller_is_shown_before_it_is_reached(metrics: Metrics) -> None:
    shown = metrics.text().decode()
    assert all(
        f'hapacs_admission_{word}{{limit="{limit}"}} 0.0' in shown for word in ("limited", "near") for limit in Limit
    )
    assert 'hapacs_admission_refused_total{caller="title:IMPORT"} 0.0' in shown


def test_nobody_yields_unless_the_settings_say_so(question: Question, metrics: Metrics) -> None:
    nobody = Admission(Limits(), {Limit.DAS: (1, question)}, metrics)
    question.answer = State(Level.LIMITED, "1.0 GB free")
    nobody.refresh(Limit.DAS)
    nobody.check(IMPORT)
    assert not nobody.decides

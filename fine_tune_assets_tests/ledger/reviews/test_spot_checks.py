"""Experts' blind ratings in the ledger: one a rater and answer, on the scale, and gone with their patient."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa

from fine_tune_assets.ledger.audit import audit
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.errors import LedgerError, UnknownRecordError
from fine_tune_assets.ledger.reviews.erasures import PatientIds, forget_patient, record_erasure
from fine_tune_assets.ledger.reviews.spot_checks import (
    SpotCheck,
    add_spot_check,
    answers_rated_by,
    list_spot_checks,
    spot_checks_fingerprint,
)
from fine_tune_assets.ledger.schema import spot_checks

CHECK = SpotCheck(
    example_id="e1",
    task="complaint",
    model_fingerprint="m" * 64,
    answer_fingerprint="a" * 64,
    patient_key="p" * 64,
    rater="Zoë Straße",
    score=7,
    error_kind="omission",
    rated_at=datetime(2026, 3, 1, 9, 30, tzinfo=UTC),
    criteria={"tone": 9},
)


def test_a_rating_comes_back_as_it_was_made(ledger: Ledger) -> None:
    """What was not rated is absent: nobody said 0."""
    other = replace(CHECK, example_id="e2", criteria={}, error_kind="none", score=10)
    assert add_spot_check(ledger, CHECK)
    assert add_spot_check(ledger, other)
    assert list_spot_checks(ledger) == [CHECK, other]
    with ledger.read() as connection:
        assert connection.execute(sa.select(spot_checks.c.criteria)).scalars().all() == ['{"tone": 9}', None]


def test_each_rater_rates_an_answer_once_however_the_name_is_written(ledger: Ledger) -> None:
    """The first impression counts; a second one of the same person would be weighed as another expert's."""
    assert add_spot_check(ledger, CHECK)
    assert not add_spot_check(ledger, replace(CHECK, score=1))
    assert not add_spot_check(ledger, replace(CHECK, rater="ZOE\u0308  STRASSE", model_fingerprint="n" * 64))
    assert add_spot_check(ledger, replace(CHECK, rater="Other"))
    assert add_spot_check(ledger, replace(CHECK, answer_fingerprint="b" * 64))
    assert [check.score for check in list_spot_checks(ledger)] == [7, 7, 7]
    assert len(answers_rated_by(ledger, "zoë straße")) == 2
    assert len(audit.lines(ledger)) == 3


def test_two_clicks_at_once_make_one_rating(ledger: Ledger) -> None:
    """A slow page is clicked twice."""
    with ThreadPoolExecutor(4) as pool:
        kept = list(pool.map(lambda _: add_spot_check(ledger, CHECK), range(4)))
    assert sorted(kept) == [False, False, False, True]
    assert list_spot_checks(ledger) == [CHECK]


@pytest.mark.parametrize(
    "wrong",
    [
        {"score": 0},
        {"score": 11},
        {"error_kind": "typo"},
        {"error_kind": ""},
        {"criteria": {"tone": 0}},
        {"rater": " "},
    ],
    ids=str,
)
def test_what_is_on_no_scale_is_refused(ledger: Ledger, wrong: dict[str, Any]) -> None:
    """A 0 would count as a very bad grade."""
    with pytest.raises(LedgerError):
        add_spot_check(ledger, replace(CHECK, **wrong))
    assert list_spot_checks(ledger) == []
    assert audit.lines(ledger) == []


def test_the_audit_line_tells_neither_grade_nor_patient_nor_model(ledger: Ledger) -> None:
    """An auditor may be a rater too, and the log can't be changed when a patient is erased."""
    add_spot_check(ledger, CHECK)
    (line,) = audit.lines(ledger)
    assert (line.who, line.what, line.about) == (CHECK.rater, "rated an answer", f"answer {CHECK.answer_id}")
    assert audit.verify(ledger).is_intact


def test_ratings_go_with_their_patient_and_none_comes_after(ledger: Ledger) -> None:
    """The fingerprint moves, so that what was measured by them is measured again."""
    other = replace(CHECK, example_id="e2", patient_key="q" * 64)
    for check in (CHECK, other):
        add_spot_check(ledger, check)
    before = spot_checks_fingerprint(ledger)
    erasure = record_erasure(ledger, patient_key=CHECK.patient_key, by="officer", reason="Art. 17", ids=PatientIds())
    assert forget_patient(ledger, erasure)["ledger spot_checks"] == 1
    assert list_spot_checks(ledger) == [other]
    assert spot_checks_fingerprint(ledger) != before
    with pytest.raises(UnknownRecordError, match="gone"):
        add_spot_check(ledger, replace(CHECK, rater="Late"))
    assert list_spot_checks(ledger) == [other]


def test_the_fingerprint_moves_with_every_rating_and_with_nothing_else(ledger: Ledger) -> None:
    """Dagster takes it for the content."""
    seen = [spot_checks_fingerprint(ledger)]
    for check in (CHECK, replace(CHECK, rater="Other"), replace(CHECK, rater="Other", score=1)):
        add_spot_check(ledger, check)
        seen.append(spot_checks_fingerprint(ledger))
    assert len(set(seen)) == 3
    assert seen[-1] == seen[-2]

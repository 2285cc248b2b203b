"""Experts' blind ratings in the ledger: one per rater and answer, on the scale, and erased with their subject."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa

from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.ledger_errors import LedgerError, UnknownRecordError
from fine_tune_assets.ledger.ledger_tables import spot_checks
from fine_tune_assets.ledger.reviews.erasures import SubjectIds, delete_subject_records, record_erasure
from fine_tune_assets.ledger.reviews.spot_check_ratings import (
    SpotCheck,
    add_spot_check,
    list_rated_answers,
    list_spot_checks,
    spot_checks_fingerprint,
)

CHECK = SpotCheck(
    example_id="e1",
    task="complaint",
    model_fingerprint="m" * 64,
    answer_fingerprint="a" * 64,
    subject_key="p" * 64,
    rater="Zoë Straße",
    score=7,
    error_kind="omission",
    rated_at=datetime(2026, 3, 1, 9, 30, tzinfo=UTC),
    criteria={"tone": 9},
)


def test_rating_round_trips(ledger: Ledger) -> None:
    """A missing rating is absent, not 0."""
    other = replace(CHECK, example_id="e2", criteria={}, error_kind="none", score=10)
    assert add_spot_check(ledger, CHECK)
    assert add_spot_check(ledger, other)
    assert list_spot_checks(ledger) == [CHECK, other]
    with ledger.read() as connection:
        assert connection.execute(sa.select(spot_checks.c.criteria)).scalars().all() == ['{"tone": 9}', None]


def test_each_rater_rates_an_answer_once_under_any_spelling(ledger: Ledger) -> None:
    """The first impression counts; a second rating would weigh as another expert's."""
    assert add_spot_check(ledger, CHECK)
    assert not add_spot_check(ledger, replace(CHECK, score=1))
    assert not add_spot_check(ledger, replace(CHECK, rater="ZOE\u0308  STRASSE", model_fingerprint="n" * 64))
    assert add_spot_check(ledger, replace(CHECK, rater="Other"))
    assert add_spot_check(ledger, replace(CHECK, answer_fingerprint="b" * 64))
    assert [check.score for check in list_spot_checks(ledger)] == [7, 7, 7]
    assert len(list_rated_answers(ledger, "zoë straße")) == 2
    assert len(audit.list_entries(ledger)) == 3


def test_concurrent_clicks_make_one_rating(ledger: Ledger) -> None:
    """A slow page is clicked twice."""
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: add_spot_check(ledger, CHECK), range(4)))
    assert sorted(results) == [False, False, False, True]
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
def test_invalid_rating_is_refused(ledger: Ledger, wrong: dict[str, Any]) -> None:
    """A 0 would count as a very bad grade."""
    with pytest.raises(LedgerError):
        add_spot_check(ledger, replace(CHECK, **wrong))
    assert list_spot_checks(ledger) == []
    assert audit.list_entries(ledger) == []


def test_audit_entry_omits_grade_subject_and_model(ledger: Ledger) -> None:
    """An auditor may be a rater too, and the log can't be changed when a subject is erased."""
    add_spot_check(ledger, CHECK)
    (line,) = audit.list_entries(ledger)
    assert (line.actor, line.action, line.resource) == (CHECK.rater, "rated an answer", f"answer {CHECK.answer_id}")
    assert audit.verify_entries(ledger).is_intact


def test_ratings_are_erased_with_their_subject_and_refused_later(ledger: Ledger) -> None:
    """The fingerprint changes, so that dependent metrics are measured again."""
    other = replace(CHECK, example_id="e2", subject_key="q" * 64)
    for check in (CHECK, other):
        add_spot_check(ledger, check)
    before = spot_checks_fingerprint(ledger)
    erasure = record_erasure(ledger, subject_key=CHECK.subject_key, by="officer", reason="Art. 17", ids=SubjectIds())
    assert delete_subject_records(ledger, erasure)["ledger spot_checks"] == 1
    assert list_spot_checks(ledger) == [other]
    assert spot_checks_fingerprint(ledger) != before
    with pytest.raises(UnknownRecordError):
        add_spot_check(ledger, replace(CHECK, rater="Late"))
    assert list_spot_checks(ledger) == [other]


def test_fingerprint_changes_with_every_rating_and_only_then(ledger: Ledger) -> None:
    """Dagster uses it as data version."""
    seen = [spot_checks_fingerprint(ledger)]
    for check in (CHECK, replace(CHECK, rater="Other"), replace(CHECK, rater="Other", score=1)):
        add_spot_check(ledger, check)
        seen.append(spot_checks_fingerprint(ledger))
    assert len(set(seen)) == 3
    assert seen[-1] == seen[-2]

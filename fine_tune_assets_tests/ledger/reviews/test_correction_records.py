import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from fine_tune_assets.core.prompts.retrieval_contract import AnswerSources, CorrectionPassage
from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.ledger_errors import DailyLimitError, IdempotencyError, LedgerError, UnknownRecordError
from fine_tune_assets.ledger.ledger_tables import corrections
from fine_tune_assets.ledger.reviews.correction_records import (
    corrections_fingerprint,
    count_corrections_since,
    find_correction,
    list_corrections,
    record_correction,
)
from fine_tune_assets.ledger.reviews.feedback import count_feedback_by_release, record_feedback
from fine_tune_assets_tests.ledger.ledger_rows import record_promoted

KEY = secrets.token_bytes(32)
TEXTS = {
    "instruction": "Zebrafinch instruction", "input": "Zebrafinch input", "answer": "Zebrafinch answer",
    "corrected_answer": "Zebrafinch better answer, ünïcode",
}  # fmt: skip


def _send(ledger: Ledger, **changes: Any) -> str:
    fields: dict[str, Any] = {"release_id": "r-1", "author": "ward 3", "idempotency_key": "k-1", **TEXTS}
    return record_correction(ledger, KEY, **(fields | changes))


@pytest.fixture(autouse=True)
def _release(ledger: Ledger) -> None:
    record_promoted(ledger, "r-1")


def test_correction_round_trips(ledger: Ledger) -> None:
    """It is the input of the next training."""
    correction_id = _send(ledger)
    (correction,) = list_corrections(ledger, KEY)
    assert (correction.correction_id, correction.release_id, correction.author) == (correction_id, "r-1", "ward 3")
    assert {name: getattr(correction, name) for name in TEXTS} == TEXTS


def test_repeated_request_is_stored_once(ledger: Ledger) -> None:
    """A client that lost the answer retries; the model must not learn the correction twice."""
    assert _send(ledger) == _send(ledger)
    assert len(list_corrections(ledger, KEY)) == 1
    assert _send(ledger, author="ward 4") != _send(ledger)
    timed = [_send(ledger, idempotency_key="k-2", seconds_spent=seconds) for seconds in (20, 31)]
    assert timed[0] == timed[1]  # it is measured until the last click


def test_same_idempotency_key_with_different_content_is_refused(ledger: Ledger) -> None:
    """Storing only the first would silently lose the second."""
    _send(ledger)
    with pytest.raises(IdempotencyError) as caught:
        _send(ledger, corrected_answer="another")
    assert "Zebrafinch" not in str(caught.value)
    assert len(list_corrections(ledger, KEY)) == 1


def test_correction_of_an_unknown_release_is_refused(ledger: Ledger) -> None:
    """It would be unclear what it corrects."""
    with pytest.raises(UnknownRecordError):
        _send(ledger, release_id="r-2")


def test_only_ciphertext_is_stored(ledger: Ledger) -> None:
    """Raw corrections can contain a person's name; a copy of the database must not reveal it."""
    _send(ledger)
    with ledger.read() as connection:
        rows = connection.execute(sa.select(corrections)).all()
    stored = repr([[bytes(v) if isinstance(v, memoryview | bytes) else v for v in row] for row in rows])
    assert "Zebrafinch" not in stored
    assert "Zebrafinch" not in repr(audit.list_entries(ledger))


def test_wrong_key_or_moved_ciphertext_raises(ledger: Ledger) -> None:
    """A row that was tampered with must not become training data."""
    _send(ledger)
    with pytest.raises(LedgerError, match="correction"):
        list_corrections(ledger, secrets.token_bytes(32))
    with ledger.begin() as connection:
        connection.execute(corrections.update().values(corrected_answer=corrections.c.answer))
    with pytest.raises(LedgerError, match="corrected_answer"):
        list_corrections(ledger, KEY)


def test_fingerprint_needs_no_key_and_changes_with_every_correction(ledger: Ledger) -> None:
    """The sensor that watches for corrections must not be able to read them."""
    before = corrections_fingerprint(ledger)
    _send(ledger)
    after = corrections_fingerprint(ledger)
    _send(ledger)
    assert before != after
    assert corrections_fingerprint(ledger) == after


def test_error_details_round_trip_and_are_part_of_the_content(ledger: Ledger) -> None:
    """Kinds of error are counted per release."""
    details: dict[str, Any] = {"error_kind": "wrong_number", "severity": "high", "seconds_spent": 40}
    _send(ledger, **details)
    (stored,) = list_corrections(ledger, KEY)
    assert {name: getattr(stored, name) for name in details} == details
    with pytest.raises(IdempotencyError):
        _send(ledger)
    for wrong in ({"error_kind": "typo"}, {"error_kind": "none"}, {"severity": "huge"}, {"seconds_spent": -1}):
        with pytest.raises(LedgerError):
            _send(ledger, **wrong, idempotency_key="k-2")


def test_corrections_of_one_author_alone_count_for_no_rollback(ledger: Ledger) -> None:
    """Otherwise one person, who needs no answer of the release for it, could end it."""
    since = datetime.now(UTC) - timedelta(hours=1)
    for number in range(5):
        _send(ledger, idempotency_key=f"k-{number}")
    assert count_corrections_since(ledger, "r-1", since) == 0
    _send(ledger, author="ward 4", idempotency_key="k")
    _send(ledger, author="ward 5", idempotency_key="k")
    assert count_corrections_since(ledger, "r-1", since) == 2
    assert count_corrections_since(ledger, "r-1", datetime.now(UTC)) == 0


def test_daily_limit_per_author_does_not_apply_to_retries(ledger: Ledger) -> None:
    """One author must not flood the reviewers, nor lose a stored correction whose answer got lost."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    first = _send(ledger, daily_limit=1, now=now)
    with pytest.raises(DailyLimitError):
        _send(ledger, daily_limit=1, now=now + timedelta(hours=23), idempotency_key="k-2")
    assert _send(ledger, daily_limit=1, now=now + timedelta(hours=23)) == first
    _send(ledger, daily_limit=1, now=now + timedelta(hours=23), idempotency_key="k-3", author="ward 4")
    _send(ledger, daily_limit=1, now=now + timedelta(hours=25), idempotency_key="k-2")
    assert len(list_corrections(ledger, KEY)) == 3


def test_feedback_is_stored_once_and_counted_by_release(ledger: Ledger) -> None:
    """Double counting would distort satisfaction."""
    thumb: dict[str, Any] = {"release_id": "r-1", "author": "ward 3", "rating": "down", "error_kind": "tone"}
    assert record_feedback(ledger, idempotency_key="k", **thumb) == record_feedback(
        ledger, idempotency_key="k", **thumb
    )
    record_feedback(ledger, idempotency_key="k-2", **thumb | {"rating": "up"})
    assert count_feedback_by_release(ledger) == {"r-1": {"up": 1, "down": 1}}
    for wrong in ({"rating": "5"}, {"error_kind": "typo"}, {"release_id": "r-2"}):
        with pytest.raises(LedgerError):
            record_feedback(ledger, idempotency_key="k-3", **thumb | wrong)
    with pytest.raises(IdempotencyError):
        record_feedback(ledger, idempotency_key="k", **thumb | {"rating": "up"})
    with pytest.raises(DailyLimitError):
        record_feedback(ledger, idempotency_key="k-4", daily_limit=2, **thumb)


MARKED = "Zebrafinch rule"
ANSWERED = AnswerSources(
    "f" * 64,
    ("p1", "p2"),
    (
        CorrectionPassage("p1", MARKED, "leave.md", "2", (MARKED,), f"{MARKED}: 20 days.", ("everyone",)),
        CorrectionPassage("p2", MARKED, "pay.md", "1", (), f"{MARKED}: 10 days.", ("everyone", "hr")),
    ),
)


def test_passages_of_an_answer_round_trip_and_are_encrypted(ledger: Ledger) -> None:
    """Their ids are readable without a key, for traces and audits."""
    sent = _send(ledger, answer_sources=ANSWERED)
    (stored,) = list_corrections(ledger, KEY)
    assert stored.answer_sources == ANSWERED
    with ledger.read() as connection:
        (row,) = connection.execute(sa.select(corrections)).mappings().all()
    assert MARKED.encode() not in b"".join(str(value).encode() for value in row.values())
    known = find_correction(ledger, sent)
    assert known is not None
    assert (known.knowledge_index, [(one.passage_id, one.source, one.version) for one in known.passages]) == (
        "f" * 64, [("p1", "leave.md", "2"), ("p2", "pay.md", "1")],
    )  # fmt: skip
    with pytest.raises(LedgerError):
        list_corrections(ledger, secrets.token_bytes(32))


def test_deleted_passages_are_stored_by_id(ledger: Ledger) -> None:
    """The correction stays complete and is not mistaken for one without passages."""
    deleted = AnswerSources("f" * 64, ("p1", "p2"), ())
    sent = _send(ledger, answer_sources=deleted)
    (stored,) = list_corrections(ledger, KEY)
    assert stored.answer_sources == deleted
    assert deleted.is_missing
    known = find_correction(ledger, sent)
    assert known is not None
    assert [(one.passage_id, one.source) for one in known.passages] == [("p1", None), ("p2", None)]


def test_stated_passages_are_part_of_the_content(ledger: Ledger) -> None:
    """A retry after its index was removed is the same request; one without or with other passages is not."""
    first = _send(ledger, answer_sources=ANSWERED)
    assert _send(ledger, answer_sources=AnswerSources("f" * 64, ("p1", "p2"), ())) == first
    for other in (None, AnswerSources("f" * 64, ("p1",), ()), AnswerSources("e" * 64, ("p1", "p2"), ())):
        with pytest.raises(IdempotencyError):
            _send(ledger, answer_sources=other)

import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from fine_tune_assets.core.prompts.retrieval_contract import AnsweredFrom, CarriedPassage
from fine_tune_assets.ledger.audit import audit
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.errors import IdempotencyError, LedgerError, TooManyError, UnknownRecordError
from fine_tune_assets.ledger.reviews.corrections import (
    corrections_fingerprint,
    find_correction,
    list_corrections,
    record_correction,
)
from fine_tune_assets.ledger.reviews.feedback import record_feedback, thumbs_by_release
from fine_tune_assets.ledger.schema import corrections
from fine_tune_assets_tests.ledger.made import record_promoted

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


def test_a_correction_comes_back_whole(ledger: Ledger) -> None:
    """It is the input of the next training."""
    correction_id = _send(ledger)
    (correction,) = list_corrections(ledger, KEY)
    assert (correction.correction_id, correction.release_id, correction.author) == (correction_id, "r-1", "ward 3")
    assert {name: getattr(correction, name) for name in TEXTS} == TEXTS


def test_sending_again_with_the_same_key_keeps_one(ledger: Ledger) -> None:
    """A client that lost the answer sends again; the model must not learn it twice."""
    assert _send(ledger) == _send(ledger)
    assert len(list_corrections(ledger, KEY)) == 1
    assert _send(ledger, author="ward 4") != _send(ledger)
    timed = [_send(ledger, idempotency_key="k-2", seconds_spent=seconds) for seconds in (20, 31)]
    assert timed[0] == timed[1]  # it is measured until the last click


def test_the_same_idempotency_key_with_another_content_is_refused(ledger: Ledger) -> None:
    """Keeping the first and answering "kept" would lose the second without a word."""
    _send(ledger)
    with pytest.raises(IdempotencyError) as caught:
        _send(ledger, corrected_answer="another")
    assert "Zebrafinch" not in str(caught.value)
    assert len(list_corrections(ledger, KEY)) == 1


def test_a_correction_of_an_unknown_release_is_refused(ledger: Ledger) -> None:
    """Nobody could tell what it corrects."""
    with pytest.raises(UnknownRecordError):
        _send(ledger, release_id="r-2")


def test_only_ciphertext_is_stored(ledger: Ledger) -> None:
    """Raw corrections can hold a patient's name; whoever copies the database must not read it."""
    _send(ledger)
    with ledger.read() as connection:
        rows = connection.execute(sa.select(corrections)).all()
    stored = repr([[bytes(v) if isinstance(v, memoryview | bytes) else v for v in row] for row in rows])
    assert "Zebrafinch" not in stored
    assert "Zebrafinch" not in repr(audit.lines(ledger))


def test_another_key_or_a_moved_ciphertext_is_an_error_and_never_text(ledger: Ledger) -> None:
    """A row that was tampered with must not become training data."""
    _send(ledger)
    with pytest.raises(LedgerError, match="key file"):
        list_corrections(ledger, secrets.token_bytes(32))
    with ledger.begin() as connection:
        connection.execute(corrections.update().values(corrected_answer=corrections.c.answer))
    with pytest.raises(LedgerError, match="corrected_answer"):
        list_corrections(ledger, KEY)


def test_the_fingerprint_needs_no_key_and_changes_with_every_correction(ledger: Ledger) -> None:
    """The sensor that watches for corrections has no business reading them."""
    before = corrections_fingerprint(ledger)
    _send(ledger)
    after = corrections_fingerprint(ledger)
    _send(ledger)
    assert before != after
    assert corrections_fingerprint(ledger) == after


def test_what_the_user_says_of_the_error_comes_back_and_is_part_of_the_content(ledger: Ledger) -> None:
    """Kinds of error are counted from release to release."""
    said: dict[str, Any] = {"error_kind": "wrong_number", "severity": "high", "seconds_spent": 40}
    _send(ledger, **said)
    (kept,) = list_corrections(ledger, KEY)
    assert {name: getattr(kept, name) for name in said} == said
    with pytest.raises(IdempotencyError):
        _send(ledger)
    for wrong in ({"error_kind": "typo"}, {"error_kind": "none"}, {"severity": "huge"}, {"seconds_spent": -1}):
        with pytest.raises(LedgerError):
            _send(ledger, **wrong, idempotency_key="k-2")


def test_an_author_may_send_so_many_a_day_and_the_same_one_again(ledger: Ledger) -> None:
    """One author must not be able to flood the reviewers, nor lose what was kept because an answer got lost."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    first = _send(ledger, daily_limit=1, now=now)
    with pytest.raises(TooManyError):
        _send(ledger, daily_limit=1, now=now + timedelta(hours=23), idempotency_key="k-2")
    assert _send(ledger, daily_limit=1, now=now + timedelta(hours=23)) == first
    _send(ledger, daily_limit=1, now=now + timedelta(hours=23), idempotency_key="k-3", author="ward 4")
    _send(ledger, daily_limit=1, now=now + timedelta(hours=25), idempotency_key="k-2")
    assert len(list_corrections(ledger, KEY)) == 3


def test_a_thumb_is_kept_once_and_counted_by_release(ledger: Ledger) -> None:
    """What is counted twice would say that twice as many were content."""
    thumb: dict[str, Any] = {"release_id": "r-1", "author": "ward 3", "rating": "down", "error_kind": "tone"}
    assert record_feedback(ledger, idempotency_key="k", **thumb) == record_feedback(
        ledger, idempotency_key="k", **thumb
    )
    record_feedback(ledger, idempotency_key="k-2", **thumb | {"rating": "up"})
    assert thumbs_by_release(ledger) == {"r-1": {"up": 1, "down": 1}}
    for wrong in ({"rating": "5"}, {"error_kind": "typo"}, {"release_id": "r-2"}):
        with pytest.raises(LedgerError):
            record_feedback(ledger, idempotency_key="k-3", **thumb | wrong)
    with pytest.raises(IdempotencyError):
        record_feedback(ledger, idempotency_key="k", **thumb | {"rating": "up"})
    with pytest.raises(TooManyError):
        record_feedback(ledger, idempotency_key="k-4", daily_limit=2, **thumb)


MARKED = "Zebrafinch rule"
ANSWERED = AnsweredFrom(
    "f" * 64,
    ("p1", "p2"),
    (
        CarriedPassage("p1", MARKED, "leave.md", "2", (MARKED,), f"{MARKED}: 20 days.", ("everyone",)),
        CarriedPassage("p2", MARKED, "pay.md", "1", (), f"{MARKED}: 10 days.", ("everyone", "hr")),
    ),
)


def test_the_passages_of_an_answer_come_back_whole_and_are_stored_encrypted(ledger: Ledger) -> None:
    """Which they were can be told without a key: a trace and an audit have none."""
    sent = _send(ledger, answered_from=ANSWERED)
    (kept,) = list_corrections(ledger, KEY)
    assert kept.answered_from == ANSWERED
    with ledger.read() as connection:
        (row,) = connection.execute(sa.select(corrections)).mappings().all()
    assert MARKED.encode() not in b"".join(str(value).encode() for value in row.values())
    known = find_correction(ledger, sent)
    assert known is not None
    assert (known.knowledge_index, [(one.passage_id, one.source, one.version) for one in known.documents]) == (
        "f" * 64, [("p1", "leave.md", "2"), ("p2", "pay.md", "1")],
    )  # fmt: skip
    with pytest.raises(LedgerError):
        list_corrections(ledger, secrets.token_bytes(32))


def test_passages_that_are_gone_are_kept_by_their_ids(ledger: Ledger) -> None:
    """Nothing of the correction is lost, and nobody takes it for one without passages."""
    gone = AnsweredFrom("f" * 64, ("p1", "p2"), ())
    sent = _send(ledger, answered_from=gone)
    (kept,) = list_corrections(ledger, KEY)
    assert kept.answered_from == gone
    assert gone.is_gone
    known = find_correction(ledger, sent)
    assert known is not None
    assert [(one.passage_id, one.source) for one in known.documents] == [("p1", None), ("p2", None)]


def test_passages_are_part_of_what_was_sent_by_what_was_told_of_them(ledger: Ledger) -> None:
    """Sent again after its index was removed it is the same; without them, or with others, it is not."""
    first = _send(ledger, answered_from=ANSWERED)
    assert _send(ledger, answered_from=AnsweredFrom("f" * 64, ("p1", "p2"), ())) == first
    for other in (None, AnsweredFrom("f" * 64, ("p1",), ()), AnsweredFrom("e" * 64, ("p1", "p2"), ())):
        with pytest.raises(IdempotencyError):
            _send(ledger, answered_from=other)

"""Erasures in the ledger: tombstone, deleted records and marks on releases."""

import pytest
import sqlalchemy as sa

from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.ledger_errors import LedgerError, UnknownRecordError
from fine_tune_assets.ledger.ledger_tables import decisions
from fine_tune_assets.ledger.reviews.decision_records import list_decisions
from fine_tune_assets.ledger.reviews.erasures import (
    Erasure,
    SubjectIds,
    add_erasure_ids,
    delete_subject_records,
    find_erasure,
    finish_erasure,
    lift_erasure,
    list_erased_subjects,
    list_release_marks,
    list_subject_marks,
    mark_releases,
    purge_deleted_rows,
    record_erasure,
)
from fine_tune_assets.ledger.reviews.identifier_marks import list_marks, record_mark
from fine_tune_assets_tests.ledger.ledger_rows import record_decision, record_promoted

KEY, OTHER = "a" * 64, "b" * 64
IDS = SubjectIds(frozenset({"b1"}), frozenset({"b1/r"}), frozenset({"e1"}))


def _erase(ledger: Ledger, ids: SubjectIds = IDS) -> Erasure:
    return record_erasure(ledger, subject_key=KEY, by="officer", reason="Art. 17", ids=ids)


def _decide(ledger: Ledger, example_id: str, report_id: str, decision: str, **changes: str) -> None:
    fields = {"reason": "It says Zyx."} | changes
    record_decision(ledger, example_id=example_id, report_id=report_id, decision=decision, **fields)


def test_tombstone_is_set_at_once_and_only_once(ledger: Ledger) -> None:
    """Later data is refused, also while the removal is interrupted."""
    first = _erase(ledger)
    assert list_erased_subjects(ledger) == {KEY}
    again = _erase(ledger, SubjectIds(frozenset({"b2"})))
    assert again.erasure_id == first.erasure_id
    assert again.ids.batches == {"b1", "b2"}
    assert again.ids.report_ids == {"b1/r"}, "Ids found before the interruption are still to be removed."
    assert not again.is_finished


@pytest.mark.parametrize(("by", "reason"), [(" ", "why"), ("who", "")])
def test_erasure_needs_a_requester_and_a_reason(ledger: Ledger, by: str, reason: str) -> None:
    """Auditors ask about it years later."""
    with pytest.raises(LedgerError):
        record_erasure(ledger, subject_key=KEY, by=by, reason=reason, ids=IDS)
    assert list_erased_subjects(ledger) == frozenset()


def test_finished_erasure_keeps_only_counts(ledger: Ledger) -> None:
    """The tombstone itself must not list what was removed."""
    erasure = add_erasure_ids(ledger, _erase(ledger), SubjectIds(frozenset({"b3"})))
    finish_erasure(ledger, erasure, "officer", {"reports": 2})
    finished = finish_erasure(ledger, _erase(ledger, SubjectIds()), "officer", {"reports": 1, "raw files": 1})
    assert finished.ids == SubjectIds(batches=frozenset({"b1", "b3"}))
    assert finished.removed == {"reports": 3, "raw files": 1}
    assert finished.is_finished


def test_every_step_is_audited_without_naming_the_subject(ledger: Ledger) -> None:
    """The log is immutable, so it must not contain what has to be erased."""
    erasure = _erase(ledger)
    _erase(ledger)
    finish_erasure(ledger, erasure, "officer", {})
    lift_erasure(ledger, subject_key=KEY, by="court", reason="Order 4")
    audited = [(line.actor, line.action, line.resource) for line in audit.list_entries(ledger)]
    assert [what for _, what, _ in audited] == [
        "began an erasure",
        "resumed an erasure",
        "finished an erasure",
        "lifted an erasure: Order 4",
    ]
    assert KEY not in str(audited)
    assert {about for _, _, about in audited} == {f"erasure {erasure.erasure_id}"}
    assert audit.verify_entries(ledger).is_intact


def test_approvals_are_deleted_and_rejections_stay_without_text(ledger: Ledger) -> None:
    """Without the rejection, the same text from another subject would be trusted again."""
    _decide(ledger, "e1", "b1/r", "approve")
    _decide(ledger, "e-of-before", "b1/r", "reject")
    _decide(ledger, "e2", "b1/other", "approve", reason="Fine.")
    removed = delete_subject_records(ledger, _erase(ledger))
    assert removed["ledger decisions"] == 1
    assert [(d.example_id, d.decision, d.report_id) for d in list_decisions(ledger)] == [
        ("e-of-before", "reject", None),
        ("e2", "approve", "b1/other"),
    ]
    with ledger.read() as connection:
        assert connection.execute(sa.select(decisions.c.reason).order_by(decisions.c.sequence)).scalars().all() == [
            "",
            "Fine.",
        ]


def test_marks_of_the_subject_are_deleted_and_others_stay(ledger: Ledger) -> None:
    """A mark contains encrypted raw text of the report."""
    for key, report_id in ((KEY, "b1/r"), (OTHER, "b1/s")):
        record_mark(
            ledger,
            b"k" * 32,
            report_id=report_id,
            batch="b1",
            subject_key=key,
            kind="NAME",
            term="Zyx",
            labelled_case="{}",
            marked_by="expert",
        )
    assert delete_subject_records(ledger, _erase(ledger))["ledger missed_identifiers"] == 1
    assert [mark.subject_key for mark in list_marks(ledger)] == [OTHER]


def test_deleted_rows_leave_no_trace_in_the_database_files(ledger: Ledger, ledger_url: str) -> None:
    """Deletion alone leaves the text in free pages and in SQLite's WAL."""
    _decide(ledger, "e1", "b1/r", "approve", reason="zyxomarkwort")
    delete_subject_records(ledger, _erase(ledger))
    purge_deleted_rows(ledger)
    assert list_decisions(ledger) == []
    if ledger_url.startswith("sqlite:///"):
        from pathlib import Path

        folder = Path(ledger_url.removeprefix("sqlite:///")).parent
        assert not any(b"zyxomarkwort" in path.read_bytes() for path in folder.iterdir())


def test_release_is_marked_once_with_its_use_of_the_subject(ledger: Ledger) -> None:
    """A release that was only measured on a subject did not learn from them."""
    for release_id in ("r-1", "r-2"):
        record_promoted(ledger, release_id)
    for _ in range(2):
        mark_releases(ledger, KEY, {"r-1": "train", "r-2": "test"})
    mark_releases(ledger, OTHER, {"r-1": "validation"})
    assert [mark.is_trained_on for mark in list_release_marks(ledger, "r-1")] == [True, True]
    assert [mark.is_trained_on for mark in list_release_marks(ledger, "r-2")] == [False]
    assert [mark.release_id for mark in list_subject_marks(ledger, KEY)] == ["r-1", "r-2"]


def test_lifting_removes_tombstone_and_marks_once(ledger: Ledger) -> None:
    """The wrong subject may have been erased; the log keeps the history."""
    record_promoted(ledger, "r-1")
    _erase(ledger)
    mark_releases(ledger, KEY, {"r-1": "train"})
    lift_erasure(ledger, subject_key=KEY, by="court", reason="Order 4")
    assert find_erasure(ledger, KEY) is None
    assert list_release_marks(ledger, "r-1") == []
    with pytest.raises(UnknownRecordError):
        lift_erasure(ledger, subject_key=KEY, by="court", reason="Order 4")

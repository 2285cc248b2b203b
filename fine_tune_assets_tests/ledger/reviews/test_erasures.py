"""Erased patients in the ledger: the tombstone, what is forgotten, and the marks on releases."""

import pytest
import sqlalchemy as sa

from fine_tune_assets.ledger.audit import audit
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.errors import LedgerError, UnknownRecordError
from fine_tune_assets.ledger.reviews.erasures import (
    Erasure,
    PatientIds,
    add_ids,
    erased_in,
    erased_patients,
    find_erasure,
    finish_erasure,
    forget_patient,
    lift_erasure,
    mark_releases,
    overwrite_deleted_rows,
    record_erasure,
    releases_that_saw,
)
from fine_tune_assets.ledger.reviews.missed_identifiers import list_marks, record_mark
from fine_tune_assets.ledger.reviews.reviews import list_decisions
from fine_tune_assets.ledger.schema import decisions
from fine_tune_assets_tests.ledger.made import record_decision, record_promoted

KEY, OTHER = "a" * 64, "b" * 64
IDS = PatientIds(frozenset({"b1"}), frozenset({"b1/r"}), frozenset({"e1"}))


def _erase(ledger: Ledger, ids: PatientIds = IDS) -> Erasure:
    return record_erasure(ledger, patient_key=KEY, by="officer", reason="Art. 17", ids=ids)


def _decide(ledger: Ledger, example_id: str, report_id: str, decision: str, **changes: str) -> None:
    said = {"reason": "It says Zyx."} | changes
    record_decision(ledger, example_id=example_id, report_id=report_id, decision=decision, **said)


def test_the_tombstone_stands_at_once_and_is_set_once(ledger: Ledger) -> None:
    """Whatever comes after it is refused, also while the removal was cut off."""
    first = _erase(ledger)
    assert erased_patients(ledger) == {KEY}
    again = _erase(ledger, PatientIds(frozenset({"b2"})))
    assert again.erasure_id == first.erasure_id
    assert again.ids.batches == {"b1", "b2"}
    assert again.ids.report_ids == {"b1/r"}, "What was found before the kill is still to be removed."
    assert not again.is_finished


@pytest.mark.parametrize(("by", "reason"), [(" ", "why"), ("who", "")])
def test_an_erasure_names_who_and_why(ledger: Ledger, by: str, reason: str) -> None:
    """It is asked about years later."""
    with pytest.raises(LedgerError, match="needs the name"):
        record_erasure(ledger, patient_key=KEY, by=by, reason=reason, ids=IDS)
    assert erased_patients(ledger) == frozenset()


def test_a_finished_erasure_forgets_reports_and_examples_and_keeps_counts(ledger: Ledger) -> None:
    """The tombstone itself must not list what was removed."""
    erasure = add_ids(ledger, _erase(ledger), PatientIds(frozenset({"b3"})))
    finish_erasure(ledger, erasure, "officer", {"reports": 2})
    finished = finish_erasure(ledger, _erase(ledger, PatientIds()), "officer", {"reports": 1, "raw files": 1})
    assert finished.ids == PatientIds(batches=frozenset({"b1", "b3"}))
    assert finished.removed == {"reports": 3, "raw files": 1}
    assert finished.is_finished


def test_the_audit_log_tells_of_every_step_and_never_names_the_patient(ledger: Ledger) -> None:
    """It can't be changed any more, so it must not hold what has to go."""
    erasure = _erase(ledger)
    _erase(ledger)
    finish_erasure(ledger, erasure, "officer", {})
    lift_erasure(ledger, patient_key=KEY, by="court", reason="Order 4")
    told = [(line.who, line.what, line.about) for line in audit.lines(ledger)]
    assert [what for _, what, _ in told] == [
        "began an erasure",
        "took up an erasure again",
        "finished an erasure",
        "lifted an erasure: Order 4",
    ]
    assert KEY not in str(told)
    assert {about for _, _, about in told} == {f"erasure {erasure.erasure_id}"}
    assert audit.verify(ledger).is_intact


def test_approvals_go_and_rejections_stay_without_their_words(ledger: Ledger) -> None:
    """Without the rejection the same text of another patient would be trusted again."""
    _decide(ledger, "e1", "b1/r", "approve")
    _decide(ledger, "e-of-before", "b1/r", "reject")
    _decide(ledger, "e2", "b1/other", "approve", reason="Fine.")
    removed = forget_patient(ledger, _erase(ledger))
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


def test_marks_of_the_patient_go_and_those_of_others_stay(ledger: Ledger) -> None:
    """A mark holds raw text of the report, encrypted."""
    for key, report_id in ((KEY, "b1/r"), (OTHER, "b1/s")):
        record_mark(
            ledger,
            b"k" * 32,
            report_id=report_id,
            batch="b1",
            patient_key=key,
            kind="NAME",
            term="Zyx",
            labelled_case="{}",
            marked_by="expert",
        )
    assert forget_patient(ledger, _erase(ledger))["ledger missed_identifiers"] == 1
    assert [mark.patient_key for mark in list_marks(ledger)] == [OTHER]


def test_deleted_rows_leave_the_files_of_the_database(ledger: Ledger, ledger_url: str) -> None:
    """Deleting alone leaves the text in free pages and in the log of SQLite."""
    _decide(ledger, "e1", "b1/r", "approve", reason="zyxomarkwort")
    forget_patient(ledger, _erase(ledger))
    overwrite_deleted_rows(ledger)
    assert list_decisions(ledger) == []
    if ledger_url.startswith("sqlite:///"):
        from pathlib import Path

        folder = Path(ledger_url.removeprefix("sqlite:///")).parent
        assert not any(b"zyxomarkwort" in path.read_bytes() for path in folder.iterdir())


def test_a_release_is_marked_once_and_knows_what_it_learned_from(ledger: Ledger) -> None:
    """A release that was only measured on a patient did not learn from them."""
    for release_id in ("r-1", "r-2"):
        record_promoted(ledger, release_id)
    for _ in range(2):
        mark_releases(ledger, KEY, {"r-1": "train", "r-2": "test"})
    mark_releases(ledger, OTHER, {"r-1": "validation"})
    assert [mark.is_learned_from for mark in erased_in(ledger, "r-1")] == [True, True]
    assert [mark.is_learned_from for mark in erased_in(ledger, "r-2")] == [False]
    assert [mark.release_id for mark in releases_that_saw(ledger, KEY)] == ["r-1", "r-2"]


def test_lifting_takes_tombstone_and_marks_away_and_only_once(ledger: Ledger) -> None:
    """The wrong patient may have been erased; the log still tells of it."""
    record_promoted(ledger, "r-1")
    _erase(ledger)
    mark_releases(ledger, KEY, {"r-1": "train"})
    lift_erasure(ledger, patient_key=KEY, by="court", reason="Order 4")
    assert find_erasure(ledger, KEY) is None
    assert erased_in(ledger, "r-1") == []
    with pytest.raises(UnknownRecordError, match="was not erased"):
        lift_erasure(ledger, patient_key=KEY, by="court", reason="Order 4")

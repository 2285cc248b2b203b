"""Missed identifiers that reviewers marked: stored once, encrypted, and withdrawn with an audit entry."""

import secrets
from typing import Any

import pytest
import sqlalchemy as sa

from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.ledger_errors import LedgerError, SealError, UnknownRecordError
from fine_tune_assets.ledger.ledger_tables import missed_identifiers
from fine_tune_assets.ledger.reviews.identifier_marks import (
    list_marks,
    marks_fingerprint,
    read_labelled_cases,
    read_mark_subjects,
    read_missed_terms,
    record_mark,
    record_mark_subjects,
    withdraw_mark,
)

KEY = secrets.token_bytes(32)
TERM = "Zebrafinch"
CASE = f'{{"text": "{TERM} coughs."}}'


def _mark(ledger: Ledger, **changes: Any) -> str:
    fields = {
        "report_id": "b/1",
        "batch": "b",
        "subject_key": "p",
        "kind": "NAME",
        "term": TERM,
        "labelled_case": CASE,
        "marked_by": "expert-1",
    }
    return record_mark(ledger, KEY, **(fields | changes))


def _terms(ledger: Ledger) -> dict[str, list[tuple[str, str]]]:
    return {subject: [(m.kind, m.term) for m in found] for subject, found in read_missed_terms(ledger, KEY).items()}


def test_mark_provides_a_term_of_its_subject_and_a_test_case(ledger: Ledger) -> None:
    """The scrubber removes the term and is measured on the case."""
    mark_id = _mark(ledger)
    (mark,) = list_marks(ledger)
    assert (mark.mark_id, mark.report_id, mark.kind, mark.marked_by, mark.is_active) == (
        mark_id,
        "b/1",
        "NAME",
        "expert-1",
        True,
    )
    assert _terms(ledger) == {"p": [("NAME", TERM)]}
    assert read_labelled_cases(ledger, KEY) == [CASE]


def test_repeated_mark_is_stored_once(ledger: Ledger) -> None:
    """Two reviewers see the same report; the case must not count twice."""
    assert _mark(ledger) == _mark(ledger, term=TERM.upper(), marked_by="expert-2")
    assert len(list_marks(ledger)) == len(audit.list_entries(ledger)) == 1
    assert _mark(ledger, kind="FACILITY") != _mark(ledger, report_id="b/2")
    assert len(list_marks(ledger)) == 3


def test_withdrawn_mark_has_no_effect_and_is_audited(ledger: Ledger) -> None:
    """A wrong mark removes an ordinary word from all reports of a subject."""
    mark_id = _mark(ledger)
    withdraw_mark(ledger, mark_id, "expert-2")
    assert (_terms(ledger), read_labelled_cases(ledger, KEY)) == ({}, [])
    (mark,) = list_marks(ledger)
    assert (mark.is_active, mark.withdrawn_by) == (False, "expert-2")
    assert [(line.actor, line.action, line.resource) for line in audit.list_entries(ledger)] == [
        ("expert-1", "marked a missed identifier", f"mark {mark_id}"),
        ("expert-2", "withdrew a missed identifier", f"mark {mark_id}"),
    ]
    with pytest.raises(LedgerError):
        withdraw_mark(ledger, mark_id, "expert-2")
    assert _mark(ledger) != mark_id
    assert _terms(ledger) == {"p": [("NAME", TERM)]}


def test_unknown_mark_cannot_be_withdrawn(ledger: Ledger) -> None:
    with pytest.raises(UnknownRecordError, match="fine-tune phi marks"):
        withdraw_mark(ledger, "nothing", "expert-1")


def test_mark_needs_a_name(ledger: Ledger) -> None:
    """The person who withholds a report is accountable."""
    with pytest.raises(LedgerError):
        _mark(ledger, marked_by=" ")
    with pytest.raises(LedgerError):
        withdraw_mark(ledger, _mark(ledger), " ")


def test_only_ciphertext_of_a_term_is_stored_and_no_repr_shows_it(ledger: Ledger) -> None:
    """A copy of the database must not be a list of identifiers."""
    _mark(ledger)
    with ledger.read() as connection:
        rows = connection.execute(sa.select(missed_identifiers)).all()
    stored = repr([[bytes(v) if isinstance(v, memoryview | bytes) else v for v in row] for row in rows])
    shown = [stored, audit.list_entries(ledger), list_marks(ledger), read_missed_terms(ledger, KEY)]
    assert TERM.lower() not in repr(shown).lower()


def test_wrong_key_or_moved_ciphertext_raises(ledger: Ledger) -> None:
    """Missing terms must never be treated as an empty list."""
    _mark(ledger)
    for read in (read_missed_terms, read_labelled_cases):
        with pytest.raises(LedgerError, match="mark"):
            read(ledger, secrets.token_bytes(32))
    with ledger.begin() as connection:
        connection.execute(missed_identifiers.update().values(term=missed_identifiers.c.labelled_case))
    with pytest.raises(LedgerError, match="term"):
        read_missed_terms(ledger, KEY)


def test_fingerprint_needs_no_key_and_changes_with_every_mark_and_withdrawal(ledger: Ledger) -> None:
    """The sensor that watches for marks must not be able to read them."""
    seen = [marks_fingerprint(ledger)]
    mark_id = _mark(ledger)
    seen.append(marks_fingerprint(ledger))
    _mark(ledger, report_id="b/2")
    seen.append(marks_fingerprint(ledger))
    withdraw_mark(ledger, mark_id, "expert-1")
    seen.append(marks_fingerprint(ledger))
    assert len(set(seen)) == 4
    assert marks_fingerprint(ledger) == seen[-1]


def test_the_subjects_of_a_mark_are_added_once_and_stay(ledger: Ledger) -> None:
    mark_id = _mark(ledger)
    assert read_mark_subjects(ledger) == {}
    for subjects in ({"p", "q"}, {"p"}, {"p", "r"}):
        record_mark_subjects(ledger, {mark_id: subjects, "erased meanwhile": {"p"}})
    assert read_mark_subjects(ledger) == {mark_id: {"p", "q", "r"}}


def test_a_subject_of_a_mark_that_was_changed_in_the_database_is_noticed(ledger: Ledger) -> None:
    """Another key would free the examples of the real subject."""
    record_mark_subjects(ledger, {_mark(ledger): {"q"}})
    with ledger.engine.connect() as connection:
        connection.exec_driver_sql("update mark_subjects set subject_key = 'x'")
        connection.commit()
    with pytest.raises(SealError):
        read_mark_subjects(ledger)

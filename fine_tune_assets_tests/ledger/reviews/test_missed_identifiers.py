"""What reviewers marked as missed: kept once, never in plain text, and withdrawn with a trace."""

import secrets
from typing import Any

import pytest
import sqlalchemy as sa

from fine_tune_assets.ledger.audit import audit
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.errors import LedgerError, UnknownRecordError
from fine_tune_assets.ledger.reviews.missed_identifiers import (
    labelled_cases,
    list_marks,
    marks_fingerprint,
    missed_terms,
    record_mark,
    withdraw_mark,
)
from fine_tune_assets.ledger.schema import missed_identifiers

KEY = secrets.token_bytes(32)
TERM = "Zebrafinch"
CASE = f'{{"text": "{TERM} coughs."}}'


def _mark(ledger: Ledger, **changes: Any) -> str:
    fields = {
        "report_id": "b/1",
        "batch": "b",
        "patient_key": "p",
        "kind": "NAME",
        "term": TERM,
        "labelled_case": CASE,
        "marked_by": "expert-1",
    }
    return record_mark(ledger, KEY, **(fields | changes))


def _terms(ledger: Ledger) -> dict[str, list[tuple[str, str]]]:
    return {patient: [(m.kind, m.term) for m in found] for patient, found in missed_terms(ledger, KEY).items()}


def test_a_mark_comes_back_as_a_term_of_its_patient_and_as_a_case(ledger: Ledger) -> None:
    """The scrubber is told the one, and measured on the other."""
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
    assert labelled_cases(ledger, KEY) == [CASE]


def test_the_same_mark_twice_is_one(ledger: Ledger) -> None:
    """Two reviewers see the same report; the case must not count twice."""
    assert _mark(ledger) == _mark(ledger, term=TERM.upper(), marked_by="expert-2")
    assert len(list_marks(ledger)) == len(audit.lines(ledger)) == 1
    assert _mark(ledger, kind="FACILITY") != _mark(ledger, report_id="b/2")
    assert len(list_marks(ledger)) == 3


def test_a_withdrawn_mark_counts_for_nothing_and_leaves_its_trace(ledger: Ledger) -> None:
    """A wrong mark blackens an ordinary word in all reports of a patient."""
    mark_id = _mark(ledger)
    withdraw_mark(ledger, mark_id, "expert-2")
    assert (_terms(ledger), labelled_cases(ledger, KEY)) == ({}, [])
    (mark,) = list_marks(ledger)
    assert (mark.is_active, mark.withdrawn_by) == (False, "expert-2")
    assert [(line.who, line.what, line.about) for line in audit.lines(ledger)] == [
        ("expert-1", "marked a missed identifier", f"mark {mark_id}"),
        ("expert-2", "withdrew a missed identifier", f"mark {mark_id}"),
    ]
    with pytest.raises(LedgerError, match="already"):
        withdraw_mark(ledger, mark_id, "expert-2")
    assert _mark(ledger) != mark_id
    assert _terms(ledger) == {"p": [("NAME", TERM)]}


def test_a_mark_that_is_not_there_can_not_be_withdrawn(ledger: Ledger) -> None:
    with pytest.raises(UnknownRecordError, match="no mark nothing"):
        withdraw_mark(ledger, "nothing", "expert-1")


def test_nobody_marks_without_a_name(ledger: Ledger) -> None:
    """Whoever holds back a report answers for it."""
    with pytest.raises(LedgerError, match="needs the reviewer's name"):
        _mark(ledger, marked_by=" ")
    with pytest.raises(LedgerError, match="needs the name"):
        withdraw_mark(ledger, _mark(ledger), " ")


def test_only_ciphertext_of_a_term_is_stored_and_nothing_prints_it(ledger: Ledger) -> None:
    """Whoever copies the database must not read a list of exactly what identifies patients."""
    _mark(ledger)
    with ledger.read() as connection:
        rows = connection.execute(sa.select(missed_identifiers)).all()
    stored = repr([[bytes(v) if isinstance(v, memoryview | bytes) else v for v in row] for row in rows])
    shown = [stored, audit.lines(ledger), list_marks(ledger), missed_terms(ledger, KEY)]
    assert TERM.lower() not in repr(shown).lower()


def test_another_key_or_a_moved_ciphertext_is_an_error_and_never_text(ledger: Ledger) -> None:
    """Without its terms nothing may be scrubbed as if there were none."""
    _mark(ledger)
    for read in (missed_terms, labelled_cases):
        with pytest.raises(LedgerError, match="key file"):
            read(ledger, secrets.token_bytes(32))
    with ledger.begin() as connection:
        connection.execute(missed_identifiers.update().values(term=missed_identifiers.c.labelled_case))
    with pytest.raises(LedgerError, match="term can't be decrypted"):
        missed_terms(ledger, KEY)


def test_the_fingerprint_needs_no_key_and_changes_with_every_mark_and_withdrawal(ledger: Ledger) -> None:
    """The sensor that watches for marks has no business reading them."""
    seen = [marks_fingerprint(ledger)]
    mark_id = _mark(ledger)
    seen.append(marks_fingerprint(ledger))
    _mark(ledger, report_id="b/2")
    seen.append(marks_fingerprint(ledger))
    withdraw_mark(ledger, mark_id, "expert-1")
    seen.append(marks_fingerprint(ledger))
    assert len(set(seen)) == 4
    assert marks_fingerprint(ledger) == seen[-1]

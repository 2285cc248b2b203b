"""Experts' labels of statements in the ledger: one per person and statement, both in the audit log, erased with their subject."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from fine_tune_assets.judging.judges.grades import SUPPORTS
from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.ledger_errors import LedgerError, UnknownRecordError
from fine_tune_assets.ledger.ledger_tables import statement_labels
from fine_tune_assets.ledger.reviews.erasures import SubjectIds, delete_subject_records, record_erasure
from fine_tune_assets.ledger.reviews.statement_labels import (
    STATEMENT_SUPPORTS,
    LabelledTexts,
    StatementLabel,
    list_overruled_answers,
    list_statement_labels,
    read_labelled_statements,
    record_statement_label,
)
from fine_tune_assets_tests.ledger.reviews.sample_label import LABEL

KEY = b"k" * 32
TEXTS = LabelledTexts("Patient: My left knee hurts.", "Right knee pain.", "r" * 64)


def _record(ledger: Ledger, label: StatementLabel) -> bool:
    return record_statement_label(ledger, KEY, label, TEXTS)


def test_the_ledger_knows_the_judge_s_labels() -> None:
    """A label that one of them lacks could be shown and not recorded."""
    assert STATEMENT_SUPPORTS == SUPPORTS


def test_labels_round_trip_in_order(ledger: Ledger) -> None:
    other = replace(LABEL, example_id="e2", support="supported")
    assert _record(ledger, LABEL)
    assert _record(ledger, other)
    assert list_statement_labels(ledger) == [LABEL, other]
    assert list_statement_labels(ledger, "e2") == [other]
    assert [label.is_overruled for label in (LABEL, other)] == [True, False]
    assert list_overruled_answers(ledger) == {("e1", "a" * 64)}


def test_labelled_texts_are_encrypted_and_outlive_the_comparison(ledger: Ledger) -> None:
    """The next comparison replaces the answers, and a verifier must still learn from the label."""
    _record(ledger, LABEL)
    assert read_labelled_statements(ledger, KEY) == [(LABEL, TEXTS)]
    with ledger.read() as connection:
        stored = bytes(connection.execute(sa.select(statement_labels.c.texts)).scalar_one())
    assert b"knee" not in stored
    assert "knee" not in repr(TEXTS)
    with pytest.raises(LedgerError):
        read_labelled_statements(ledger, b"x" * 32)


def test_a_newer_label_of_the_same_person_replaces_theirs_and_the_audit_log_keeps_both(ledger: Ledger) -> None:
    """One person under two spellings must not count as two experts."""
    newer = replace(LABEL, support="not mentioned", labeller="ZOE\u0308  STRASSE")
    assert _record(ledger, LABEL)
    assert _record(ledger, newer)
    assert list_statement_labels(ledger) == [newer]
    first, second = audit.list_entries(ledger)
    assert (first.actor, first.resource) == (LABEL.labeller, f"statement {LABEL.statement_id}")
    assert second.resource == first.resource
    assert LABEL.support in first.action
    assert newer.support in second.action
    assert audit.verify_entries(ledger).is_intact


@pytest.mark.parametrize(
    "change",
    [
        {"labeller": "Other"},
        {"answer_fingerprint": "b" * 64},
        {"statement_fingerprint": "t" * 64},
        {"criterion": "completeness"},
    ],
    ids=str,
)
def test_another_person_or_statement_has_its_own_label(ledger: Ledger, change: dict[str, Any]) -> None:
    """The same sentence can be a statement of the answer and of the approved answer."""
    other = replace(LABEL, **change)
    for label in (LABEL, other):
        assert _record(ledger, label)
    assert list_statement_labels(ledger) == [LABEL, other]


def test_concurrent_clicks_make_one_label(ledger: Ledger) -> None:
    """A slow page is clicked twice."""
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: _record(ledger, LABEL), range(4)))
    assert sorted(results) == [False, False, False, True]
    assert list_statement_labels(ledger) == [LABEL]
    assert len(audit.list_entries(ledger)) == 1


@pytest.mark.parametrize("wrong", [{"support": "maybe"}, {"support": ""}, {"judge_support": "x"}, {"labeller": " "}])
def test_an_invalid_label_is_refused(ledger: Ledger, wrong: dict[str, Any]) -> None:
    with pytest.raises(LedgerError):
        _record(ledger, replace(LABEL, **wrong))
    assert list_statement_labels(ledger) == []
    assert audit.list_entries(ledger) == []


def test_the_audit_entry_names_neither_subject_nor_model_nor_text(ledger: Ledger) -> None:
    """The log can't be changed when a subject is erased."""
    _record(ledger, LABEL)
    (entry,) = audit.list_entries(ledger)
    written = f"{entry.action} {entry.resource}"
    for hidden in (LABEL.subject_key, LABEL.model_fingerprint, LABEL.answer_fingerprint, LABEL.statement_fingerprint):
        assert hidden not in written


def test_labels_are_erased_with_their_subject_and_refused_later(ledger: Ledger) -> None:
    other = replace(LABEL, example_id="e2", subject_key="q" * 64)
    for label in (LABEL, other):
        _record(ledger, label)
    erasure = record_erasure(ledger, subject_key=LABEL.subject_key, by="officer", reason="Art. 17", ids=SubjectIds())
    assert delete_subject_records(ledger, erasure)["ledger statement_labels"] == 1
    assert list_statement_labels(ledger) == [other]
    with pytest.raises(UnknownRecordError):
        _record(ledger, replace(LABEL, labeller="Late"))
    assert list_statement_labels(ledger) == [other]

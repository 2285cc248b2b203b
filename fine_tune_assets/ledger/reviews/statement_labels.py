"""Stores experts' labels of statements that the judge checked: a label overrules the judge, or confirms it.

One label per person and statement: a newer one replaces it, and the audit log keeps both. The labelled texts are encrypted. An
erasure deletes the labels of its subject.
"""

import json
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

import sqlalchemy as sa

from fine_tune_assets.core.fingerprints import fingerprint_text, short
from fine_tune_assets.core.people import person_key
from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.database import Ledger, select_fields
from fine_tune_assets.ledger.encryption import decrypt, derive_key, encrypt
from fine_tune_assets.ledger.ledger_errors import LedgerError, UnknownRecordError
from fine_tune_assets.ledger.ledger_tables import erasures, statement_labels

StatementSupport = Literal["supported", "contradicted", "not mentioned"]
STATEMENT_SUPPORTS: Final[tuple[StatementSupport, ...]] = ("supported", "contradicted", "not mentioned")
_PURPOSE: Final = "statement-labels"
_IDENTITY: Final = ("example_id", "answer_fingerprint", "criterion", "statement_fingerprint", "labeller_key")


@dataclass(frozen=True)
class StatementLabel:
    """What one expert says about one statement, next to what the judge said."""

    example_id: str
    subject_key: str
    model_fingerprint: str
    """A model that gave this answer; other models may have given the same one."""
    answer_fingerprint: str
    """SHA-256 of the answer's text."""
    statement_fingerprint: str
    """SHA-256 of the statement's text."""
    criterion: str
    judge_support: StatementSupport
    judge_probability: float
    """Probability that the statement is supported, 0 to 1."""
    judge_version: str
    support: StatementSupport
    """What the expert says."""
    labeller: str
    labelled_at: datetime

    @property
    def statement_id(self) -> str:
        """The id of the statement in the audit log."""
        parts = (self.example_id, self.answer_fingerprint, self.criterion, self.statement_fingerprint)
        return short(fingerprint_text(" ".join(parts)))

    @property
    def is_overruled(self) -> bool:
        return self.support != self.judge_support


@dataclass(frozen=True)
class LabelledTexts:
    """What was labelled, for the training of a verifier."""

    shown: str = field(repr=False)
    """What the statement was compared with: the record, or the answer in which it was looked for."""
    statement: str = field(repr=False)
    record_fingerprint: str
    """SHA-256 of the record."""


def record_statement_label(ledger: Ledger, key: bytes, label: StatementLabel, texts: LabelledTexts) -> bool:
    """Store a label in place of the person's earlier one; False if that says the same.

    Raises LedgerError for an invalid label, UnknownRecordError if the subject was erased meanwhile.
    """
    _require_valid_label(label)
    row: dict[str, Any] = {
        **vars(label),
        "labeller_key": person_key(label.labeller),
        "texts": encrypt(derive_key(key, _PURPOSE), json.dumps(asdict(texts)), _encryption_context(label)),
    }
    same = [statement_labels.c[name] == row[name] for name in _IDENTITY]
    with ledger.begin() as connection:
        erased = sa.select(erasures.c.sequence).where(erasures.c.subject_key == label.subject_key)
        if connection.execute(erased).first() is not None:
            raise UnknownRecordError(f"Statement {label.statement_id} was erased. Nothing was recorded.")
        if connection.execute(sa.select(statement_labels.c.support).where(*same)).scalar() == label.support:
            return False
        connection.execute(statement_labels.delete().where(*same))
        connection.execute(statement_labels.insert().values(**row))
        action = f"labelled a statement {label.support}; judge: {label.judge_support}"
        audit.append(connection, label.labeller, action, f"statement {label.statement_id}")
        return True


def list_statement_labels(ledger: Ledger, example_id: str | None = None) -> list[StatementLabel]:
    """Every label in order; with `example_id`, only labels of that example."""
    query = select_fields(statement_labels, StatementLabel).order_by(statement_labels.c.sequence)
    if example_id is not None:
        query = query.where(statement_labels.c.example_id == example_id)
    with ledger.read() as connection:
        return [StatementLabel(**row) for row in connection.execute(query).mappings()]


def read_labelled_statements(ledger: Ledger, key: bytes) -> list[tuple[StatementLabel, LabelledTexts]]:
    """Every label with its texts, in order. Raises LedgerError if decryption fails."""
    query = sa.select(statement_labels).where(statement_labels.c.texts.is_not(None))
    with ledger.read() as connection:
        rows = connection.execute(query.order_by(statement_labels.c.sequence)).mappings().all()
    names = StatementLabel.__dataclass_fields__
    labels = [StatementLabel(**{name: row[name] for name in names}) for row in rows]
    own_key = derive_key(key, _PURPOSE)
    return [
        (label, LabelledTexts(**json.loads(decrypt(own_key, row["texts"], _encryption_context(label)))))
        for label, row in zip(labels, rows, strict=True)
    ]


def list_overruled_answers(ledger: Ledger) -> frozenset[tuple[str, str]]:
    """Example id and answer fingerprint of each answer with a statement on which an expert overruled the judge."""
    columns = statement_labels.c
    query = sa.select(columns.example_id, columns.answer_fingerprint).where(columns.support != columns.judge_support)
    with ledger.read() as connection:
        return frozenset((example_id, answer) for example_id, answer in connection.execute(query.distinct()))


def _encryption_context(label: StatementLabel) -> str:
    return f"statement {label.statement_id} by {person_key(label.labeller)}"


def _require_valid_label(label: StatementLabel) -> None:
    if not label.labeller.strip():
        raise LedgerError(f"The label of statement {label.statement_id} lacks the expert's name.")
    if not {label.support, label.judge_support} <= set(STATEMENT_SUPPORTS):
        raise LedgerError(
            f"The label of statement {label.statement_id} must be one of: {', '.join(STATEMENT_SUPPORTS)}."
        )

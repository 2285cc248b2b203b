"""Identifiers that the scrubber left and a reviewer marked, encrypted: each is a term to remove and a case to measure.

Owns storing a mark once, withdrawing it, and reading terms and cases back with the key. A withdrawn mark stays as a row and
counts for nothing. Ids, kinds, names and times are plain; the term and the text around it never are.
"""

import json
import uuid
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from fine_tune_assets.core.fingerprints import combine, keyed_hash
from fine_tune_assets.ledger.audit import audit
from fine_tune_assets.ledger.database import Ledger, select_fields
from fine_tune_assets.ledger.encryption import decrypt, derive_key, encrypt
from fine_tune_assets.ledger.errors import LedgerError, UnknownRecordError
from fine_tune_assets.ledger.schema import missed_identifiers as marks

_PURPOSE = "missed-identifiers"


@dataclass(frozen=True)
class Mark:
    """What was marked, without the term."""

    mark_id: str
    report_id: str
    batch: str
    patient_key: str
    kind: str
    marked_by: str
    marked_at: datetime
    withdrawn_by: str | None
    withdrawn_at: datetime | None

    @property
    def is_active(self) -> bool:
        return self.withdrawn_at is None


@dataclass(frozen=True)
class MissedTerm:
    """The term of a mark, decrypted: for the scrubber and the gates only."""

    mark_id: str
    kind: str
    term: str

    def __repr__(self) -> str:
        """Without the term: a repr ends up in logs."""
        return f"MissedTerm(mark_id={self.mark_id!r}, kind={self.kind!r})"


def record_mark(
    ledger: Ledger,
    key: bytes,
    *,
    report_id: str,
    batch: str,
    patient_key: str,
    kind: str,
    term: str,
    labelled_case: str,
    marked_by: str,
) -> str:
    """Keep a mark and return its id. The same term of the same kind in the same report is one mark: the same id again."""
    if not marked_by.strip():
        raise LedgerError(f"A mark in report {report_id} needs the reviewer's name.")
    # Keyed: a plain hash of a name could be found by trying names.
    term_hash = keyed_hash(derive_key(key, "missed-identifier-hash"), json.dumps([report_id, kind, term.casefold()]))
    with ledger.begin() as connection:
        known = sa.select(marks.c.mark_id).where(marks.c.term_hash == term_hash, marks.c.withdrawn_at.is_(None))
        found = connection.execute(known).scalar()
        if found is not None:
            return str(found)
        mark_id, own_key = uuid.uuid4().hex, derive_key(key, _PURPOSE)
        connection.execute(
            marks.insert().values(
                mark_id=mark_id,
                report_id=report_id,
                batch=batch,
                patient_key=patient_key,
                kind=kind,
                term_hash=term_hash,
                marked_by=marked_by.strip(),
                marked_at=datetime.now(UTC),
                term=encrypt(own_key, term, _place(mark_id, "term")),
                labelled_case=encrypt(own_key, labelled_case, _place(mark_id, "labelled_case")),
            )
        )
        audit.append(connection, marked_by.strip(), "marked a missed identifier", f"mark {mark_id}")
    return mark_id


def withdraw_mark(ledger: Ledger, mark_id: str, withdrawn_by: str) -> Mark:
    """Take back a mark that was wrong: its term is no longer removed. Raises UnknownRecordError, LedgerError."""
    if not withdrawn_by.strip():
        raise LedgerError(f"Withdrawing mark {mark_id} needs the name of who does it.")
    with ledger.begin() as connection:
        found = connection.execute(select_fields(marks, Mark).where(marks.c.mark_id == mark_id)).mappings().first()
        if found is None:
            raise UnknownRecordError(f"There is no mark {mark_id}. List them: `fine-tune phi marks`.")
        if found["withdrawn_at"] is not None:
            raise LedgerError(f"Mark {mark_id} was withdrawn already.")
        changes = {"withdrawn_by": withdrawn_by.strip(), "withdrawn_at": datetime.now(UTC)}
        connection.execute(marks.update().where(marks.c.mark_id == mark_id).values(**changes))
        audit.append(connection, withdrawn_by.strip(), "withdrew a missed identifier", f"mark {mark_id}")
    return Mark(**{**found, **changes})


def list_marks(ledger: Ledger) -> list[Mark]:
    """Every mark in the order in which it was made, withdrawn ones too. Needs no key."""
    with ledger.read() as connection:
        rows = connection.execute(select_fields(marks, Mark).order_by(marks.c.sequence))
        return [Mark(**row) for row in rows.mappings()]


def missed_terms(ledger: Ledger, key: bytes) -> dict[str, list[MissedTerm]]:
    """Patient key → the terms that stand for this patient, decrypted. Raises LedgerError if one can't be."""
    terms: dict[str, list[MissedTerm]] = defaultdict(list)
    for row in _active(ledger, marks.c.mark_id, marks.c.patient_key, marks.c.kind, marks.c.term):
        term = decrypt(derive_key(key, _PURPOSE), row["term"], _place(row["mark_id"], "term"))
        terms[row["patient_key"]].append(MissedTerm(row["mark_id"], row["kind"], term))
    return dict(terms)


def labelled_cases(ledger: Ledger, key: bytes) -> list[str]:
    """The case of each mark that stands, as JSON with `text` and `spans`. Raises LedgerError if one can't be decrypted."""
    return [
        decrypt(derive_key(key, _PURPOSE), row["labelled_case"], _place(row["mark_id"], "labelled_case"))
        for row in _active(ledger, marks.c.mark_id, marks.c.labelled_case)
    ]


def marks_fingerprint(ledger: Ledger) -> str:
    """Changes with every mark and with every one that is withdrawn; needs no key."""
    return combine(row["mark_id"] for row in _active(ledger, marks.c.mark_id))


def _active(ledger: Ledger, *columns: sa.Column[Any]) -> list[Any]:
    query = sa.select(*columns).where(marks.c.withdrawn_at.is_(None)).order_by(marks.c.sequence)
    with ledger.read() as connection:
        return list(connection.execute(query).mappings().all())


def _place(mark_id: str, column: str) -> str:
    return f"mark {mark_id} {column}"

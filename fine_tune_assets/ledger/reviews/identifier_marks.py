"""Stores missed identifiers that reviewers marked, encrypted: each is a term to remove and a test case for the scrubber.

A withdrawn mark stays as a row without effect. Ids, kinds, names and times are plain; the term and its surrounding text never
are.
"""

import json
import uuid
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa

from fine_tune_assets.core.fingerprints import combine, keyed_hash
from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.database import Ledger, select_fields
from fine_tune_assets.ledger.encryption import decrypt, derive_key, encrypt
from fine_tune_assets.ledger.ledger_errors import LedgerError, UnknownRecordError
from fine_tune_assets.ledger.ledger_tables import mark_subjects
from fine_tune_assets.ledger.ledger_tables import missed_identifiers as marks
from fine_tune_assets.ledger.seals import select_sealed, select_sealed_records

_PURPOSE = "missed-identifiers"


@dataclass(frozen=True)
class IdentifierMark:
    """A mark without its term."""

    mark_id: str
    report_id: str
    batch: str
    subject_key: str
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
    """The decrypted term of a mark, for the scrubber and the gates only."""

    mark_id: str
    kind: str
    term: str

    def __repr__(self) -> str:
        """Omits the term, because a repr can end up in logs."""
        return f"MissedTerm(mark_id={self.mark_id!r}, kind={self.kind!r})"


def record_mark(
    ledger: Ledger,
    key: bytes,
    *,
    report_id: str,
    batch: str,
    subject_key: str,
    kind: str,
    term: str,
    labelled_case: str,
    marked_by: str,
) -> str:
    """Store a mark and return its id; marking the same term, kind and report again returns the same id."""
    if not marked_by.strip():
        raise LedgerError(f"A mark in report {report_id} needs the reviewer's name.")
    # Keyed: an attacker could find a plain hash of a name by trying names.
    term_hash = keyed_hash(derive_key(key, "missed-identifier-hash"), json.dumps([report_id, kind, term.casefold()]))
    with ledger.begin() as connection:
        known = sa.select(marks.c.mark_id).where(marks.c.term_hash == term_hash, marks.c.withdrawn_at.is_(None))
        found = connection.execute(known).scalar()
        if found is not None:
            return str(found)
        mark_id, purpose_key = uuid.uuid4().hex, derive_key(key, _PURPOSE)
        connection.execute(
            marks.insert().values(
                mark_id=mark_id,
                report_id=report_id,
                batch=batch,
                subject_key=subject_key,
                kind=kind,
                term_hash=term_hash,
                marked_by=marked_by.strip(),
                marked_at=datetime.now(UTC),
                term=encrypt(purpose_key, term, _encryption_context(mark_id, "term")),
                labelled_case=encrypt(purpose_key, labelled_case, _encryption_context(mark_id, "labelled_case")),
            )
        )
        audit.append(connection, marked_by.strip(), "marked a missed identifier", f"mark {mark_id}")
    return mark_id


def withdraw_mark(ledger: Ledger, mark_id: str, withdrawn_by: str) -> IdentifierMark:
    """Withdraw a mark, so that its term is no longer removed. Raises UnknownRecordError, LedgerError."""
    if not withdrawn_by.strip():
        raise LedgerError(f"Withdrawing mark {mark_id} needs a name.")
    with ledger.begin() as connection:
        found = (
            connection.execute(select_fields(marks, IdentifierMark).where(marks.c.mark_id == mark_id))
            .mappings()
            .first()
        )
        if found is None:
            raise UnknownRecordError(f"Unknown mark {mark_id}. To list marks: `fine-tune phi marks`")
        if found["withdrawn_at"] is not None:
            raise LedgerError(f"Mark {mark_id} is already withdrawn.")
        changes = {"withdrawn_by": withdrawn_by.strip(), "withdrawn_at": datetime.now(UTC)}
        connection.execute(marks.update().where(marks.c.mark_id == mark_id).values(**changes))
        audit.append(connection, withdrawn_by.strip(), "withdrew a missed identifier", f"mark {mark_id}")
    return IdentifierMark(**{**found, **changes})


def list_marks(ledger: Ledger) -> list[IdentifierMark]:
    """Every mark in order, including withdrawn ones. Needs no key."""
    with ledger.read() as connection:
        return select_sealed_records(connection, sa.select(marks).order_by(marks.c.sequence), IdentifierMark)


def read_missed_terms(ledger: Ledger, key: bytes) -> dict[str, list[MissedTerm]]:
    """Subject key → active terms of that subject, decrypted. Raises LedgerError if decryption fails."""
    terms: dict[str, list[MissedTerm]] = defaultdict(list)
    for row in _select_active(ledger):
        term = decrypt(derive_key(key, _PURPOSE), row["term"], _encryption_context(row["mark_id"], "term"))
        terms[row["subject_key"]].append(MissedTerm(row["mark_id"], row["kind"], term))
    return dict(terms)


def record_mark_subjects(ledger: Ledger, subjects: Mapping[str, Collection[str]]) -> None:
    """Add subjects to marks: mark id → keys of the subjects that it concerns. Known ones stay, also if a copy disappears."""
    wanted = {(mark_id, key) for mark_id, keys in subjects.items() for key in keys}
    query = sa.select(mark_subjects.c.mark_id, mark_subjects.c.subject_key)
    with ledger.read() as connection:
        missing = wanted - {(row.mark_id, row.subject_key) for row in connection.execute(query)}
    if not missing:
        return
    with ledger.begin() as connection:
        known = {(row.mark_id, row.subject_key) for row in connection.execute(query)}
        existing = set(connection.execute(sa.select(marks.c.mark_id)).scalars())
        for mark_id, subject_key in sorted(missing - known):
            if mark_id in existing:  # not erased meanwhile
                connection.execute(mark_subjects.insert().values(mark_id=mark_id, subject_key=subject_key))


def read_mark_subjects(ledger: Ledger) -> dict[str, frozenset[str]]:
    """Mark id → keys of the subjects that it concerns; without marks whose copies were not looked for yet. Raises SealError."""
    found: dict[str, set[str]] = defaultdict(set)
    with ledger.read() as connection:
        for row in select_sealed(connection, sa.select(mark_subjects)):
            found[row["mark_id"]].add(row["subject_key"])
    return {mark_id: frozenset(keys) for mark_id, keys in found.items()}


def read_labelled_cases(ledger: Ledger, key: bytes) -> list[str]:
    """The test case of each active mark, as JSON with `text` and `spans`. Raises LedgerError if decryption fails."""
    return [
        decrypt(derive_key(key, _PURPOSE), row["labelled_case"], _encryption_context(row["mark_id"], "labelled_case"))
        for row in _select_active(ledger)
    ]


def marks_fingerprint(ledger: Ledger) -> str:
    """Changes with every mark and every withdrawal; needs no key."""
    return combine(row["mark_id"] for row in _select_active(ledger))


def _select_active(ledger: Ledger) -> Sequence[sa.RowMapping]:
    query = sa.select(marks).where(marks.c.withdrawn_at.is_(None)).order_by(marks.c.sequence)
    with ledger.read() as connection:
        return select_sealed(connection, query)


def _encryption_context(mark_id: str, column: str) -> str:
    return f"mark {mark_id} {column}"

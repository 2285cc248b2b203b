"""Records erased subjects: a tombstone each, what was removed, and the releases that were trained on or measured with them.

The tombstone is set before anything is removed, so that no new data arrives behind it. While an erasure runs, it also lists the
reports and examples to remove, so that an interrupted run can be resumed; afterwards only counts remain. Audit entries name the
erasure, never the subject.
"""

import json
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import sqlalchemy as sa

from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.database import Ledger, read_transaction, select_fields, split_into_chunks
from fine_tune_assets.ledger.ledger_errors import LedgerError, UnknownRecordError
from fine_tune_assets.ledger.ledger_tables import (
    decisions,
    erasure_marks,
    erasures,
    mark_subjects,
    missed_identifiers,
    proposals,
    review_items,
    revocations,
    saved_edits,
    spot_checks,
    statement_labels,
)

TRAINING_SPLITS = ("train", "validation")
"""Splits that shape a model: it is trained on one, and the other selects the checkpoint."""
_ERASED_TABLES = (
    decisions,
    revocations,
    review_items,
    missed_identifiers,
    mark_subjects,
    proposals,
    saved_edits,
    spot_checks,
    statement_labels,
    erasures,
)


@dataclass(frozen=True)
class SubjectIds:
    """Ids of everything that contains a subject."""

    batches: frozenset[str] = frozenset()
    report_ids: frozenset[str] = frozenset()
    example_ids: frozenset[str] = frozenset()

    def union(self, other: "SubjectIds") -> "SubjectIds":
        return SubjectIds(*(getattr(self, name) | getattr(other, name) for name in SubjectIds.__dataclass_fields__))


@dataclass(frozen=True)
class Erasure:
    erasure_id: str
    subject_key: str
    erased_by: str
    reason: str
    erased_at: datetime
    ids: SubjectIds
    """Only the batches once the erasure is finished."""
    removed: dict[str, int]
    """Table, folder or kind of file → number of removed items."""
    is_finished: bool
    releases_by_copy: dict[str, str] = field(default_factory=dict)
    """Release → split that contains the subject's text under another subject's key, if it stays there."""


@dataclass(frozen=True)
class ErasureMark:
    """A release that used a subject who was erased later."""

    subject_key: str
    release_id: str
    split: str

    @property
    def is_trained_on(self) -> bool:
        return self.split in TRAINING_SPLITS


def record_erasure(
    ledger: Ledger,
    *,
    subject_key: str,
    by: str,
    reason: str,
    ids: SubjectIds,
    releases_by_copy: Mapping[str, str] = MappingProxyType({}),
) -> Erasure:
    """Set the tombstone, or resume the existing erasure and keep what it found before."""
    if not by.strip() or not reason.strip():
        raise LedgerError("An erasure needs the requester's name and a reason.")
    with ledger.begin() as connection:
        known = find_erasure(connection, subject_key)
        if known is not None:
            all_copies = {**releases_by_copy, **known.releases_by_copy}
            audit.append(connection, by.strip(), "resumed an erasure", f"erasure {known.erasure_id}")
            return _update_erasure(
                connection, known, ids=ids.union(known.ids), is_finished=False, releases_by_copy=all_copies
            )
        row: dict[str, Any] = {
            "erasure_id": uuid.uuid4().hex,
            "subject_key": subject_key,
            "erased_by": by.strip(),
            "reason": reason.strip(),
            "erased_at": datetime.now(UTC),
        }
        begun = Erasure(**row, ids=ids, removed={}, is_finished=False, releases_by_copy=dict(releases_by_copy))
        connection.execute(erasures.insert().values(**row, state=_state(begun)))
        audit.append(connection, by.strip(), "began an erasure", f"erasure {begun.erasure_id}")
        return begun


def copy_erasures(ledger: Ledger, source: Ledger) -> int:
    """Set the tombstones of another product line here too, for a line that was added after an erasure. Returns how many."""
    missing = list_erased_subjects(source) - list_erased_subjects(ledger)
    for one in list_erasures(source):
        if one.subject_key in missing:
            begun = record_erasure(
                ledger, subject_key=one.subject_key, by=one.erased_by, reason=one.reason, ids=SubjectIds()
            )
            finish_erasure(ledger, begun, one.erased_by, {})
    return len(missing)


def add_erasure_ids(ledger: Ledger, erasure: Erasure, ids: SubjectIds) -> Erasure:
    """Add ids that were found after the tombstone was set."""
    with ledger.begin() as connection:
        known = find_erasure(connection, erasure.subject_key)
        if known is None:
            raise UnknownRecordError("The erasure was lifted while it was running.")
        return _update_erasure(connection, known, ids=known.ids.union(ids), is_finished=False)


def finish_erasure(ledger: Ledger, erasure: Erasure, by: str, removed: Mapping[str, int]) -> Erasure:
    """Record what was removed and drop the ids of the removed reports and examples."""
    counts = {name: erasure.removed.get(name, 0) + removed.get(name, 0) for name in {*erasure.removed, *removed}}
    with ledger.begin() as connection:
        remaining = SubjectIds(batches=erasure.ids.batches)
        audit.append(connection, by.strip(), "finished an erasure", f"erasure {erasure.erasure_id}")
        return _update_erasure(connection, erasure, ids=remaining, removed=counts, is_finished=True)


def lift_erasure(ledger: Ledger, *, subject_key: str, by: str, reason: str) -> Erasure:
    """Remove the tombstone, so that new data of the subject is accepted. Restores nothing. Raises UnknownRecordError."""
    if not by.strip() or not reason.strip():
        raise LedgerError("Lifting an erasure needs the requester's name and a reason.")
    with ledger.begin() as connection:
        known = find_erasure(connection, subject_key)
        if known is None:
            raise UnknownRecordError("This subject has no erasure to lift.")
        connection.execute(erasures.delete().where(erasures.c.subject_key == subject_key))
        connection.execute(erasure_marks.delete().where(erasure_marks.c.subject_key == subject_key))
        audit.append(
            connection, by.strip(), f"lifted an erasure: {reason.strip()}"[:200], f"erasure {known.erasure_id}"
        )
    return known


def find_erasure(target: Ledger | sa.Connection, subject_key: str) -> Erasure | None:
    with read_transaction(target) as connection:
        row = connection.execute(sa.select(erasures).where(erasures.c.subject_key == subject_key)).mappings().first()
    return None if row is None else _erasure(row)


def list_erasures(ledger: Ledger) -> list[Erasure]:
    """Every erasure in force, in order."""
    with ledger.read() as connection:
        rows = connection.execute(sa.select(erasures).order_by(erasures.c.sequence)).mappings()
        return [_erasure(row) for row in rows]


def list_erased_subjects(ledger: Ledger) -> frozenset[str]:
    """Keys of subjects whose data must not be read, stored or trained on."""
    with ledger.read() as connection:
        return frozenset(connection.execute(sa.select(erasures.c.subject_key)).scalars())


def mark_releases(ledger: Ledger, subject_key: str, split_of_release: Mapping[str, str]) -> None:
    """Record which releases used the subject, and in which split; existing marks stay."""
    with ledger.begin() as connection:
        marked = connection.execute(
            sa.select(erasure_marks.c.release_id).where(erasure_marks.c.subject_key == subject_key)
        )
        for release_id in sorted(set(split_of_release) - set(marked.scalars())):
            row = {"subject_key": subject_key, "release_id": release_id, "split": split_of_release[release_id]}
            connection.execute(erasure_marks.insert().values(**row, recorded_at=datetime.now(UTC)))


def list_release_marks(ledger: Ledger, release_id: str) -> list[ErasureMark]:
    """The erased subjects that a release used."""
    return _select_marks(ledger, erasure_marks.c.release_id == release_id)


def list_subject_marks(ledger: Ledger, subject_key: str) -> list[ErasureMark]:
    return _select_marks(ledger, erasure_marks.c.subject_key == subject_key)


def delete_subject_records(ledger: Ledger, erasure: Erasure) -> dict[str, int]:
    """Delete the ledger's rows about a subject; return the number of rows per table.

    Approvals are deleted with their repaired outputs. A rejection stays without its reason and report: otherwise the same text
    from another subject would be trusted again.
    """
    with ledger.begin() as connection:
        known = sa.select(review_items.c.example_id).where(review_items.c.subject_key == erasure.subject_key)
        examples = erasure.ids.example_ids | set(connection.execute(known).scalars())
        about = _find_decisions(connection, erasure.ids.report_ids, examples)
        approvals = [d for d, decision in about.items() if decision == "approve"]
        own_marks = sa.select(missed_identifiers.c.mark_id).where(
            missed_identifiers.c.subject_key == erasure.subject_key
        )
        marks = list(connection.execute(own_marks).scalars())
        rejections = [d for d, decision in about.items() if decision == "reject"]
        removed = {
            "ledger revocations": _delete(connection, revocations, "decision_id", approvals),
            "ledger decisions": _delete(connection, decisions, "decision_id", approvals),
            "ledger proposals": _delete(connection, proposals, "example_id", examples)
            + _delete(connection, proposals, "report_id", erasure.ids.report_ids),
            "ledger review_items": _delete(connection, review_items, "subject_key", [erasure.subject_key]),
            "ledger mark_subjects": _delete(connection, mark_subjects, "mark_id", marks)
            + _delete(connection, mark_subjects, "subject_key", [erasure.subject_key]),
            "ledger missed_identifiers": _delete(connection, missed_identifiers, "subject_key", [erasure.subject_key]),
            "ledger saved_edits": _delete(connection, saved_edits, "subject_key", [erasure.subject_key]),
            "ledger spot_checks": _delete(connection, spot_checks, "subject_key", [erasure.subject_key]),
            "ledger statement_labels": _delete(connection, statement_labels, "subject_key", [erasure.subject_key]),
        }
        for chunk in split_into_chunks(rejections):
            redacted = {"reason": "", "report_id": None, "task": None}
            connection.execute(decisions.update().where(decisions.c.decision_id.in_(chunk)).values(**redacted))
            connection.execute(revocations.update().where(revocations.c.decision_id.in_(chunk)).values(reason=""))
        return removed


def purge_deleted_rows(ledger: Ledger) -> None:
    """Purge deleted rows from the database files: truncate SQLite's WAL, or vacuum PostgreSQL."""
    if ledger.engine.dialect.name == "postgresql":
        # VACUUM can't run inside a transaction.
        with ledger.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            for table in _ERASED_TABLES:
                connection.exec_driver_sql(f"VACUUM {table.name}")
        return
    raw = ledger.engine.raw_connection()
    try:
        raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    finally:
        raw.close()


def _find_decisions(
    connection: sa.Connection, report_ids: Collection[str], example_ids: Collection[str]
) -> dict[str, str]:
    about: dict[str, str] = {}
    for column, ids in ((decisions.c.report_id, report_ids), (decisions.c.example_id, example_ids)):
        for chunk in split_into_chunks(ids):
            rows = connection.execute(sa.select(decisions.c.decision_id, decisions.c.decision).where(column.in_(chunk)))
            about |= {row.decision_id: row.decision for row in rows}
    return about


def _delete(connection: sa.Connection, table: sa.Table, column: str, values: Collection[str]) -> int:
    return sum(
        connection.execute(table.delete().where(table.c[column].in_(chunk))).rowcount
        for chunk in split_into_chunks(values)
    )


def _select_marks(ledger: Ledger, condition: Any) -> list[ErasureMark]:
    query = select_fields(erasure_marks, ErasureMark).where(condition).order_by(erasure_marks.c.sequence)
    with ledger.read() as connection:
        return [ErasureMark(**row) for row in connection.execute(query).mappings()]


def _erasure(row: Any) -> Erasure:
    state = json.loads(row["state"])
    ids = SubjectIds(**{name: frozenset(named) for name, named in state["ids"].items()})
    plain = {name: row[name] for name in ("erasure_id", "subject_key", "erased_by", "reason", "erased_at")}
    return Erasure(**plain, **{**state, "ids": ids})


def _update_erasure(connection: sa.Connection, erasure: Erasure, **changes: Any) -> Erasure:
    changed = replace(erasure, **changes)
    same = erasures.c.erasure_id == erasure.erasure_id
    connection.execute(erasures.update().where(same).values(state=_state(changed)))
    return changed


def _state(erasure: Erasure) -> str:
    """The `state` column: every field of an erasure that changes."""
    state: dict[str, Any] = {name: getattr(erasure, name) for name in ("removed", "is_finished", "releases_by_copy")}
    ids = {name: sorted(found) for name, found in vars(erasure.ids).items()}
    return json.dumps({**state, "ids": ids}, sort_keys=True)

"""Patients who were erased: the tombstone of each, what was removed, and the releases that saw them.

Owns the tombstones, the marks on releases, and removing what the ledger itself holds of a patient. A tombstone stands before
anything is removed, so that nothing new comes in behind it. While the work goes on it also holds which reports and examples
are to be removed, so that a run that was killed can be finished; then only counts are left. Audit lines name the erasure,
never the patient.
"""

import json
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import sqlalchemy as sa

from fine_tune_assets.ledger.audit import audit
from fine_tune_assets.ledger.database import Ledger, in_parts, reading, select_fields
from fine_tune_assets.ledger.errors import LedgerError, UnknownRecordError
from fine_tune_assets.ledger.schema import (
    decisions,
    erased_in_releases,
    erasures,
    missed_identifiers,
    review_items,
    revocations,
    spot_checks,
)

LEARNED_FROM = ("train", "validation")
"""Splits that decide what a model becomes: it is trained on one, and the other chooses the checkpoint."""


@dataclass(frozen=True)
class PatientIds:
    """Where a patient was found, and in what. Ids only."""

    batches: frozenset[str] = frozenset()
    report_ids: frozenset[str] = frozenset()
    example_ids: frozenset[str] = frozenset()

    def and_those(self, other: "PatientIds") -> "PatientIds":
        return PatientIds(*(getattr(self, name) | getattr(other, name) for name in PatientIds.__dataclass_fields__))


@dataclass(frozen=True)
class Erasure:
    erasure_id: str
    patient_key: str
    erased_by: str
    reason: str
    erased_at: datetime
    ids: PatientIds
    """Once it is finished: the batches only."""
    removed: dict[str, int]
    """Table, folder or kind of file → how much of it was removed."""
    is_finished: bool
    seen_by_copy: dict[str, str] = field(default_factory=dict)
    """Release → the split in which it saw the patient's words under another patient's key, where they stay."""


@dataclass(frozen=True)
class ErasedMark:
    """A release saw a patient who was erased later."""

    patient_key: str
    release_id: str
    split: str

    @property
    def is_learned_from(self) -> bool:
        return self.split in LEARNED_FROM


def record_erasure(
    ledger: Ledger,
    *,
    patient_key: str,
    by: str,
    reason: str,
    ids: PatientIds,
    seen_by_copy: Mapping[str, str] = MappingProxyType({}),
) -> Erasure:
    """Set the tombstone, or take up again the one that stands; what was found before is kept."""
    if not by.strip() or not reason.strip():
        raise LedgerError("An erasure needs the name of who asks for it, and the reason.")
    with ledger.begin() as connection:
        known = find_erasure(connection, patient_key)
        if known is not None:
            seen = {**seen_by_copy, **known.seen_by_copy}
            audit.append(connection, by.strip(), "took up an erasure again", f"erasure {known.erasure_id}")
            return _changed(connection, known, ids=ids.and_those(known.ids), is_finished=False, seen_by_copy=seen)
        row: dict[str, Any] = {
            "erasure_id": uuid.uuid4().hex,
            "patient_key": patient_key,
            "erased_by": by.strip(),
            "reason": reason.strip(),
            "erased_at": datetime.now(UTC),
        }
        begun = Erasure(**row, ids=ids, removed={}, is_finished=False, seen_by_copy=dict(seen_by_copy))
        connection.execute(erasures.insert().values(**row, removed=_state(begun)))
        audit.append(connection, by.strip(), "began an erasure", f"erasure {begun.erasure_id}")
        return begun


def add_ids(ledger: Ledger, erasure: Erasure, ids: PatientIds) -> Erasure:
    """Take in what was found since the tombstone was set."""
    with ledger.begin() as connection:
        known = find_erasure(connection, erasure.patient_key)
        if known is None:
            raise UnknownRecordError("The erasure was lifted meanwhile.")
        return _changed(connection, known, ids=known.ids.and_those(ids), is_finished=False)


def finish_erasure(ledger: Ledger, erasure: Erasure, by: str, removed: Mapping[str, int]) -> Erasure:
    """Say what was removed, and forget which reports and examples they were."""
    counts = {name: erasure.removed.get(name, 0) + removed.get(name, 0) for name in {*erasure.removed, *removed}}
    with ledger.begin() as connection:
        kept = PatientIds(batches=erasure.ids.batches)
        audit.append(connection, by.strip(), "finished an erasure", f"erasure {erasure.erasure_id}")
        return _changed(connection, erasure, ids=kept, removed=counts, is_finished=True)


def lift_erasure(ledger: Ledger, *, patient_key: str, by: str, reason: str) -> Erasure:
    """Take the tombstone away: what arrives of the patient is read again. Raises UnknownRecordError. Brings nothing back."""
    if not by.strip() or not reason.strip():
        raise LedgerError("Lifting an erasure needs the name of who asks for it, and the reason.")
    with ledger.begin() as connection:
        known = find_erasure(connection, patient_key)
        if known is None:
            raise UnknownRecordError("This patient was not erased, or the erasure was lifted already.")
        connection.execute(erasures.delete().where(erasures.c.patient_key == patient_key))
        connection.execute(erased_in_releases.delete().where(erased_in_releases.c.patient_key == patient_key))
        audit.append(
            connection, by.strip(), f"lifted an erasure: {reason.strip()}"[:200], f"erasure {known.erasure_id}"
        )
    return known


def find_erasure(target: Ledger | sa.Connection, patient_key: str) -> Erasure | None:
    with reading(target) as connection:
        row = connection.execute(sa.select(erasures).where(erasures.c.patient_key == patient_key)).mappings().first()
    return None if row is None else _erasure(row)


def list_erasures(ledger: Ledger) -> list[Erasure]:
    """Every erasure that stands, in their order."""
    with ledger.read() as connection:
        rows = connection.execute(sa.select(erasures).order_by(erasures.c.sequence)).mappings()
        return [_erasure(row) for row in rows]


def erased_patients(ledger: Ledger) -> frozenset[str]:
    """Keys of the patients of whom nothing may be read, stored or learned."""
    with ledger.read() as connection:
        return frozenset(connection.execute(sa.select(erasures.c.patient_key)).scalars())


def mark_releases(ledger: Ledger, patient_key: str, split_of_release: Mapping[str, str]) -> None:
    """Keep which releases saw the patient, and in which split. A mark that is there stays."""
    with ledger.begin() as connection:
        marked = connection.execute(
            sa.select(erased_in_releases.c.release_id).where(erased_in_releases.c.patient_key == patient_key)
        )
        for release_id in sorted(set(split_of_release) - set(marked.scalars())):
            row = {"patient_key": patient_key, "release_id": release_id, "split": split_of_release[release_id]}
            connection.execute(erased_in_releases.insert().values(**row, recorded_at=datetime.now(UTC)))


def erased_in(ledger: Ledger, release_id: str) -> list[ErasedMark]:
    """The erased patients that a release saw."""
    return _marks(ledger, erased_in_releases.c.release_id == release_id)


def releases_that_saw(ledger: Ledger, patient_key: str) -> list[ErasedMark]:
    return _marks(ledger, erased_in_releases.c.patient_key == patient_key)


def forget_patient(ledger: Ledger, erasure: Erasure) -> dict[str, int]:
    """Remove what people and services wrote about the patient; table → rows.

    Approvals go with their repaired outputs. A rejection stays, without its words and its report: the same text of another
    patient would otherwise be trusted again.
    """
    with ledger.begin() as connection:
        known = sa.select(review_items.c.example_id).where(review_items.c.patient_key == erasure.patient_key)
        examples = erasure.ids.example_ids | set(connection.execute(known).scalars())
        about = _decisions_about(connection, erasure.ids.report_ids, examples)
        approvals = [d for d, decision in about.items() if decision == "approve"]
        rejections = [d for d, decision in about.items() if decision == "reject"]
        removed = {
            "ledger revocations": _delete(connection, revocations, "decision_id", approvals),
            "ledger decisions": _delete(connection, decisions, "decision_id", approvals),
            "ledger review_items": _delete(connection, review_items, "patient_key", [erasure.patient_key]),
            "ledger missed_identifiers": _delete(connection, missed_identifiers, "patient_key", [erasure.patient_key]),
            "ledger spot_checks": _delete(connection, spot_checks, "patient_key", [erasure.patient_key]),
        }
        for chunk in in_parts(rejections):
            wordless = {"reason": "", "report_id": None, "task": None}
            connection.execute(decisions.update().where(decisions.c.decision_id.in_(chunk)).values(**wordless))
            connection.execute(revocations.update().where(revocations.c.decision_id.in_(chunk)).values(reason=""))
        return removed


def overwrite_deleted_rows(ledger: Ledger) -> None:
    """Leave nothing of deleted rows in the database's files: SQLite's log is emptied, PostgreSQL's dead rows are removed."""
    if ledger.engine.dialect.name == "postgresql":
        # VACUUM can't be part of a transaction.
        with ledger.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            for table in (decisions, revocations, review_items, missed_identifiers, spot_checks, erasures):
                connection.exec_driver_sql(f"VACUUM {table.name}")
        return
    raw = ledger.engine.raw_connection()
    try:
        raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    finally:
        raw.close()


def _decisions_about(
    connection: sa.Connection, report_ids: Collection[str], example_ids: Collection[str]
) -> dict[str, str]:
    about: dict[str, str] = {}
    for column, ids in ((decisions.c.report_id, report_ids), (decisions.c.example_id, example_ids)):
        for chunk in in_parts(ids):
            rows = connection.execute(sa.select(decisions.c.decision_id, decisions.c.decision).where(column.in_(chunk)))
            about |= {row.decision_id: row.decision for row in rows}
    return about


def _delete(connection: sa.Connection, table: sa.Table, column: str, values: Collection[str]) -> int:
    return sum(
        connection.execute(table.delete().where(table.c[column].in_(chunk))).rowcount for chunk in in_parts(values)
    )


def _marks(ledger: Ledger, condition: Any) -> list[ErasedMark]:
    query = select_fields(erased_in_releases, ErasedMark).where(condition).order_by(erased_in_releases.c.sequence)
    with ledger.read() as connection:
        return [ErasedMark(**row) for row in connection.execute(query).mappings()]


def _erasure(row: Any) -> Erasure:
    state = json.loads(row["removed"])
    ids = PatientIds(**{name: frozenset(named) for name, named in state["ids"].items()})
    plain = {name: row[name] for name in ("erasure_id", "patient_key", "erased_by", "reason", "erased_at")}
    return Erasure(**plain, **{**state, "ids": ids})


def _changed(connection: sa.Connection, erasure: Erasure, **changes: Any) -> Erasure:
    changed = replace(erasure, **changes)
    same = erasures.c.erasure_id == erasure.erasure_id
    connection.execute(erasures.update().where(same).values(removed=_state(changed)))
    return changed


def _state(erasure: Erasure) -> str:
    """The column `removed`: everything about an erasure that changes."""
    state: dict[str, Any] = {name: getattr(erasure, name) for name in ("removed", "is_finished", "seen_by_copy")}
    ids = {name: sorted(found) for name, found in vars(erasure.ids).items()}
    return json.dumps({**state, "ids": ids}, sort_keys=True)

"""Decisions of experts about drafted examples. Owns storing them and their order; what follows from them is approval's.

Rows are only ever added: whoever changes their mind decides again, and the later decision counts.
"""

import uuid
from datetime import UTC, datetime
from typing import Literal

import sqlalchemy as sa

from fine_tune_assets.core.fingerprints import combine
from fine_tune_assets.core.records import Decision
from fine_tune_assets.ledger import audit
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.errors import LedgerError
from fine_tune_assets.ledger.schema import decisions


def record_decision(
    ledger: Ledger,
    *,
    example_id: str,
    fingerprint: str,
    report_id: str,
    task: str,
    decision: Literal["approve", "reject"],
    output: str | None,
    reviewer: str,
    reason: str = "",
) -> Decision:
    """Keep what `reviewer` decided about the draft with this fingerprint. Raises LedgerError if it makes no sense."""
    if decision not in ("approve", "reject"):
        raise LedgerError(f"A decision on example {example_id} must be approve or reject.")
    if decision == "reject" and output is not None:
        raise LedgerError(f"Example {example_id} can't be rejected and repaired at once.")
    if not reviewer.strip():
        raise LedgerError(f"A decision on example {example_id} needs the reviewer's name.")
    kept = Decision(
        decision_id=uuid.uuid4().hex,
        example_id=example_id,
        fingerprint=fingerprint,
        report_id=report_id,
        task=task,
        decision=decision,
        output=output,
        reviewer=reviewer.strip(),
        decided_at=datetime.now(UTC),
    )
    with ledger.begin() as connection:
        connection.execute(decisions.insert().values(**vars(kept), reason=reason))
        audit.append(connection, kept.reviewer, f"decided {decision}", f"example {example_id}")
    return kept


def list_decisions(ledger: Ledger) -> list[Decision]:
    """Every decision, in the order in which they were made."""
    columns = [decisions.c[name] for name in Decision.__dataclass_fields__]
    with ledger.read() as connection:
        rows = connection.execute(sa.select(*columns).order_by(decisions.c.sequence))
        return [Decision(**row) for row in rows.mappings()]


def decisions_fingerprint(ledger: Ledger) -> str:
    """Changes with every decision; the same for the same decisions."""
    with ledger.read() as connection:
        return combine(connection.execute(sa.select(decisions.c.decision_id).order_by(decisions.c.sequence)).scalars())

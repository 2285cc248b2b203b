"""The steps of a trace that the ledger knows: decisions, verdicts, releases and deployments. Owns the queries."""

from typing import Any

import sqlalchemy as sa

from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.schema import decisions, deployments, releases, revocations, verdicts
from fine_tune_assets.lineage.records import DecisionStep, DeploymentStep, ReleaseStep, VerdictStep


def decisions_on(ledger: Ledger, example_id: str) -> list[tuple[DecisionStep, str | None]]:
    """Every decision about an example in its order, revoked ones too, each with the report that it names."""
    query = (
        sa.select(
            *(
                decisions.c[n]
                for n in ("decision_id", "decision", "role", "reviewer", "decided_at", "meaning", "report_id")
            ),
            decisions.c.output.is_not(None).label("is_repaired"),
            revocations.c.revoked_by,
            revocations.c.revoked_at,
        )
        .outerjoin(revocations, revocations.c.decision_id == decisions.c.decision_id)
        .where(decisions.c.example_id == example_id)
        .order_by(decisions.c.sequence)
    )
    found = [dict(row) for row in _rows(ledger, query)]
    return [(DecisionStep(**{k: v for k, v in row.items() if k != "report_id"}), row["report_id"]) for row in found]


def verdicts_on(ledger: Ledger, adapter_id: str, instruction_set_fingerprint: str) -> tuple[VerdictStep, ...]:
    query = (
        sa.select(verdicts.c.verdict_id, verdicts.c.decision, verdicts.c.recorded_at)
        .where(
            verdicts.c.adapter_id == adapter_id,
            verdicts.c.instruction_set_fingerprint == instruction_set_fingerprint,
        )
        .order_by(verdicts.c.sequence)
    )
    return tuple(VerdictStep(**row) for row in _rows(ledger, query))


def releases_of(ledger: Ledger, adapter_id: str, instruction_set_fingerprint: str) -> tuple[ReleaseStep, ...]:
    query = (
        sa.select(releases.c.release_id, releases.c.verdict_id, releases.c.recorded_at)
        .where(
            releases.c.adapter_id == adapter_id,
            releases.c.instruction_set_fingerprint == instruction_set_fingerprint,
        )
        .order_by(releases.c.recorded_at, releases.c.release_id)
    )
    return tuple(
        ReleaseStep(**row, deployments=deployments_of(ledger, row["release_id"])) for row in _rows(ledger, query)
    )


def deployments_of(ledger: Ledger, release_id: str) -> tuple[DeploymentStep, ...]:
    columns = [deployments.c[name] for name in DeploymentStep.__dataclass_fields__]
    query = sa.select(*columns).where(deployments.c.release_id == release_id).order_by(deployments.c.sequence)
    return tuple(DeploymentStep(**row) for row in _rows(ledger, query))


def _rows(ledger: Ledger, query: sa.Select[Any]) -> list[Any]:
    with ledger.read() as connection:
        return list(connection.execute(query).mappings().all())

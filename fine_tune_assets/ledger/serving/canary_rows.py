"""Rows of canary releases: plan, start and outcome, at most one per deployment.

Every function runs in the caller's transaction. `canary_records` decides who may start one and what its end means.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

import sqlalchemy as sa

from fine_tune_assets.ledger.database import Ledger, read_transaction
from fine_tune_assets.ledger.ledger_errors import TransitionError
from fine_tune_assets.ledger.ledger_tables import canary_releases as table
from fine_tune_assets.ledger.seals import select_sealed

Outcome = Literal["passed", "failed", "waived", "superseded"]
_CLEARED_OUTCOMES = ("passed", "waived")


@dataclass(frozen=True)
class CanaryPlan:
    traffic_percent: int
    """Percentage of callers routed to it."""
    duration_seconds: int
    minimum_requests: int
    """Required to pass."""
    maximum_seconds: int
    """With too few requests it is extended up to this time, then fails."""


@dataclass(frozen=True)
class CanaryRelease:
    deployment_id: str
    plan: CanaryPlan
    started_at: datetime | None
    """None until the deployment is ready, and again if its engine was lost with the supervisor."""
    ended_at: datetime | None
    outcome: Outcome | None
    reason: str
    """Reason of the outcome: counts, never text."""

    @property
    def is_running(self) -> bool:
        return self.started_at is not None and self.ended_at is None

    @property
    def is_cleared(self) -> bool:
        return self.outcome in _CLEARED_OUTCOMES

    @property
    def ends_at(self) -> datetime | None:
        return None if self.started_at is None else self.started_at + timedelta(seconds=self.plan.duration_seconds)

    @property
    def deadline(self) -> datetime | None:
        return None if self.started_at is None else self.started_at + timedelta(seconds=self.plan.maximum_seconds)


def find_canary(target: Ledger | sa.Connection, deployment_id: str) -> CanaryRelease | None:
    with read_transaction(target) as connection:
        rows = select_sealed(connection, sa.select(table).where(_has_deployment_id(deployment_id)))
    if not rows:
        return None
    row = rows[0]
    plan = CanaryPlan(**{name: row[name] for name in CanaryPlan.__dataclass_fields__})
    names = ("deployment_id", "started_at", "ended_at", "outcome", "reason")
    return CanaryRelease(plan=plan, **{name: row[name] for name in names})


def request_canary(connection: sa.Connection, deployment_id: str, plan: CanaryPlan | None) -> None:
    """Require a canary release before the deployment goes live.

    Repeating the same plan changes nothing, another plan replaces it, and None waives it.
    """
    known = find_canary(connection, deployment_id)
    if plan is None:
        close_canary(connection, deployment_id, "waived", "no longer required")
    elif known is None or known.plan != plan:
        connection.execute(table.delete().where(_has_deployment_id(deployment_id)))
        values = {"deployment_id": deployment_id, "requested_at": datetime.now(UTC), "reason": ""}
        connection.execute(table.insert().values(**values, **vars(plan)))


def set_canary_start(connection: sa.Connection, deployment_id: str, at: datetime | None) -> None:
    connection.execute(
        table.update().where(_has_deployment_id(deployment_id) & table.c.ended_at.is_(None)).values(started_at=at)
    )


def close_canary(connection: sa.Connection, deployment_id: str, outcome: Outcome, reason: str) -> None:
    """End an open canary release; do nothing if there is none."""
    is_open = _has_deployment_id(deployment_id) & table.c.ended_at.is_(None)
    values = {"ended_at": datetime.now(UTC), "outcome": outcome, "reason": reason}
    connection.execute(table.update().where(is_open).values(**values))


def require_cleared_canary(connection: sa.Connection, deployment_id: str, *, has_live_deployment: bool) -> None:
    """Raise TransitionError if a required canary release has not passed. Waives it if nothing is live."""
    if not has_live_deployment:
        close_canary(connection, deployment_id, "waived", "nothing else is live")
    canary = find_canary(connection, deployment_id)
    if canary is not None and not canary.is_cleared:
        state = canary.outcome or ("running" if canary.is_running else "not started")
        raise TransitionError(f"Deployment {deployment_id} can't go live: its canary release is {state}, not passed.")


def _has_deployment_id(deployment_id: str) -> sa.ColumnElement[bool]:
    return table.c.deployment_id == deployment_id

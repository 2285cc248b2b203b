"""The row of a trial: what was asked for, when it began, how it ended. At most one a deployment.

Owns these rows within a transaction of somebody else. Who may begin a trial, and what its end does to the deployment, is in
`trials`.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

import sqlalchemy as sa

from fine_tune_assets.ledger.database import Ledger, reading
from fine_tune_assets.ledger.errors import TransitionError
from fine_tune_assets.ledger.schema import trials as table

Outcome = Literal["passed", "failed", "waived", "given up"]
_LETS_THROUGH = ("passed", "waived")


@dataclass(frozen=True)
class TrialPlan:
    percent: int
    """Of callers, who are answered by it meanwhile."""
    seconds: int
    minimum_requests: int
    """Without which it does not pass."""
    maximum_seconds: int
    """With fewer requests it goes on up to this, and fails then."""


@dataclass(frozen=True)
class Trial:
    deployment_id: str
    plan: TrialPlan
    begun_at: datetime | None
    """None until the deployment is ready, and again when its engine was lost with the supervisor."""
    ended_at: datetime | None
    outcome: Outcome | None
    reason: str
    """Of its outcome; counts, never text."""

    @property
    def is_under_way(self) -> bool:
        return self.begun_at is not None and self.ended_at is None

    @property
    def lets_through(self) -> bool:
        return self.outcome in _LETS_THROUGH

    @property
    def ends_at(self) -> datetime | None:
        return None if self.begun_at is None else self.begun_at + timedelta(seconds=self.plan.seconds)

    @property
    def given_up_at(self) -> datetime | None:
        return None if self.begun_at is None else self.begun_at + timedelta(seconds=self.plan.maximum_seconds)


def find_trial(target: Ledger | sa.Connection, deployment_id: str) -> Trial | None:
    with reading(target) as connection:
        row = connection.execute(sa.select(table).where(_of(deployment_id))).mappings().first()
    if row is None:
        return None
    plan = TrialPlan(**{name: row[name] for name in TrialPlan.__dataclass_fields__})
    names = ("deployment_id", "begun_at", "ended_at", "outcome", "reason")
    return Trial(plan=plan, **{name: row[name] for name in names})


def ask_in(connection: sa.Connection, deployment_id: str, plan: TrialPlan | None) -> None:
    """Ask for a trial before the deployment goes live. The same one again changes nothing, another one takes its place, and None
    asks for none any more."""
    known = find_trial(connection, deployment_id)
    if plan is None:
        close_in(connection, deployment_id, "waived", "none is asked for any more")
    elif known is None or known.plan != plan:
        connection.execute(table.delete().where(_of(deployment_id)))
        values = {"deployment_id": deployment_id, "asked_at": datetime.now(UTC), "reason": ""}
        connection.execute(table.insert().values(**values, **vars(plan)))


def set_begun_in(connection: sa.Connection, deployment_id: str, at: datetime | None) -> None:
    connection.execute(table.update().where(_of(deployment_id) & table.c.ended_at.is_(None)).values(begun_at=at))


def close_in(connection: sa.Connection, deployment_id: str, outcome: Outcome, reason: str) -> None:
    """End it. None there, or ended already: nothing."""
    is_open = _of(deployment_id) & table.c.ended_at.is_(None)
    values = {"ended_at": datetime.now(UTC), "outcome": outcome, "reason": reason}
    connection.execute(table.update().where(is_open).values(**values))


def require_tried_in(connection: sa.Connection, deployment_id: str, *, is_anything_live: bool) -> None:
    """Raises TransitionError if a trial was asked for and has not passed. Where nothing is live there is none to pass."""
    if not is_anything_live:
        close_in(connection, deployment_id, "waived", "nothing else is live")
    trial = find_trial(connection, deployment_id)
    if trial is not None and not trial.lets_through:
        state = trial.outcome or ("under way" if trial.is_under_way else "not begun")
        raise TransitionError(f"The trial of deployment {deployment_id} is {state}: only one that passed goes live.")


def _of(deployment_id: str) -> sa.ColumnElement[bool]:
    return table.c.deployment_id == deployment_id

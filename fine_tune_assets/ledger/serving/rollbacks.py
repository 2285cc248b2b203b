"""Going back to the deployment that served before: one transaction if it is still up.

Owns which one that is, and who may say so: what was left for a fault is never gone back to, what a person left only by a person.
"""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.ledger.audit import audit
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.errors import TransitionError
from fine_tune_assets.ledger.schema import deployments as table
from fine_tune_assets.ledger.schema import releases
from fine_tune_assets.ledger.serving.deployments import (
    BEHIND,
    BY_HAND,
    MAY_FOLLOW,
    SUPERVISOR,
    Deployment,
    live_deployment,
    make_live_in,
    require_in,
    select_in,
    set_in,
)
from fine_tune_assets.ledger.serving.trial_rows import close_in

FAILED = "failed"
"""The `rollback_reason` of a deployment whose engine can't be started again."""


@dataclass(frozen=True)
class Back:
    """What a rollback would go to."""

    deployment: Deployment
    is_up: bool


def find_back(ledger: Ledger, *, by_itself: bool = False) -> Back | None:
    """What served before and may again: the one that is still up, else the last one of another release than what serves now.
    `by_itself`: as nobody asks for it, which never brings back what a person left."""
    with ledger.read() as connection:
        return next(iter(ways_back_in(connection, by_itself=by_itself)), None)


def ways_back_in(connection: sa.Connection, *, by_itself: bool = False) -> list[Back]:
    """All that could be gone back to, the best first: what is still up, then what takes a start; of each, what served last.

    A release is judged by the last time that it served, and one whose folder was removed is none.
    """
    live, last = live_deployment(connection), dict[str, Deployment]()
    for deployment in _served_in(connection):
        last.setdefault(deployment.release_id, deployment)
    fit = [d for d in last.values() if d.rollback_reason is None or (d.rollback_reason == BY_HAND and not by_itself)]
    up = [d for d in fit if d.state in BEHIND and d.engine_url is not None]
    stopped = [d for d in fit if d.state == "stopped" and (live is None or d.release_id != live.release_id)]
    return [Back(d, is_up=True) for d in up] + [Back(d, is_up=False) for d in stopped]


def _served_in(connection: sa.Connection) -> list[Deployment]:
    """Deployments that ever served, of releases that are there; what served last first."""
    is_there = table.c.release_id.in_(sa.select(releases.c.release_id).where(releases.c.removed_at.is_(None)))
    found = select_in(connection, table.c.live_since.is_not(None) & is_there)
    return sorted(found, key=lambda d: d.live_since or d.wanted_at, reverse=True)


def _still_up(connection: sa.Connection, by_itself: bool) -> Deployment | None:
    return next((back.deployment for back in ways_back_in(connection, by_itself=by_itself) if back.is_up), None)


def roll_back(
    ledger: Ledger,
    by: str,
    *,
    leaving: str | None = None,
    reason: str | None = None,
    keep_until: datetime | None = None,
) -> Deployment:
    """Send users back to the deployment that served before and is still up; return it.

    `leaving`: the deployment that it is about; if another one is live by now, nothing is done. `reason`: the fault, if no person
    asked for it; what is left is not kept then. Raises TransitionError if none is up or another one is live, GateClosedError if
    the verdict on its release no longer lets it through. Nothing changes then.
    """
    with ledger.begin() as connection:
        back, left = _still_up(connection, by_itself=reason is not None), live_deployment(connection)
        if back is None:
            raise TransitionError("No deployment that served before is still up.")
        if leaving is not None and (left is None or left.deployment_id != leaving):
            raise TransitionError(f"Deployment {leaving} is not live any more.")
        kept = None if reason else keep_until
        make_live_in(connection, back, by, keep_until=kept, has_served=True, reason=reason or BY_HAND)
        if left is not None:
            set_in(connection, left.deployment_id, detail=f"left by itself: {reason}" if reason else "left by hand")
            audit.append(connection, by, "rolled back", f"release {left.release_id}")
        return require_in(connection, back.deployment_id)


def fail_deployment(ledger: Ledger, deployment_id: str, detail: str) -> Deployment | None:
    """Report that a deployment failed. If users were on it, they go back in the same step to what served before and is still up;
    None if there is nothing to go back to, or nobody was on it.

    Raises TransitionError for one that has ended, or is on its way out.
    """
    with ledger.begin() as connection:
        failed = require_in(connection, deployment_id)
        if "failed" not in MAY_FOLLOW[failed.state]:
            raise TransitionError(f"Deployment {deployment_id} is {failed.state} and can't become failed.")
        back = _leave_failed(connection, failed) if failed.state == "live" else None
        gone = {"engine_url": None, "engine_key": None, "keep_until": None}
        set_in(connection, deployment_id, state="failed", detail=detail, **gone)
        close_in(connection, deployment_id, "failed", detail)
        audit.append(connection, SUPERVISOR, "reported failed", f"deployment {deployment_id}")
        return back


def _leave_failed(connection: sa.Connection, failed: Deployment) -> Deployment | None:
    back = _still_up(connection, by_itself=True)
    if back is None:
        return None
    try:
        make_live_in(connection, back, SUPERVISOR, keep_until=None, has_served=True, reason=FAILED)
    except GateClosedError:  # nothing is changed yet: the gate is asked first
        return None
    audit.append(connection, SUPERVISOR, "rolled back", f"release {failed.release_id}")
    return require_in(connection, back.deployment_id)

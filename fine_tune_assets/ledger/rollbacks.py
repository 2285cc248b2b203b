"""Going back to the deployment that served before: one transaction if it is still up.

Owns which one that is, and who may say so: what was left for a fault is never gone back to, what a person left only by a person.
"""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from fine_tune_assets.ledger import audit
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.deployments import (
    BEHIND,
    BY_HAND,
    Deployment,
    find_live_in,
    make_live_in,
    require_in,
    select_in,
    set_in,
)
from fine_tune_assets.ledger.errors import TransitionError
from fine_tune_assets.ledger.schema import deployments as table


@dataclass(frozen=True)
class Back:
    """What a rollback would go to."""

    deployment: Deployment
    is_up: bool


def find_back(ledger: Ledger, *, by_itself: bool = False) -> Back | None:
    """What served before and may again: the one that is still up, else the last one of another release than what serves now.
    `by_itself`: as nobody asks for it, which never brings back what a person left."""
    with ledger.read() as connection:
        return _find_back(connection, by_itself)


def _find_back(connection: sa.Connection, by_itself: bool) -> Back | None:
    up = _still_up(connection, by_itself)
    if up is not None:
        return Back(up, is_up=True)
    live = find_live_in(connection)
    served = table.c.live_since.is_not(None) & _may_serve_again(by_itself) & (table.c.state == "stopped")
    known = [d for d in select_in(connection, served) if live is None or d.release_id != live.release_id]
    last = max(known, key=lambda d: d.live_since or d.wanted_at, default=None)
    return None if last is None else Back(last, is_up=False)


def _still_up(connection: sa.Connection, by_itself: bool) -> Deployment | None:
    is_fit = table.c.state.in_(BEHIND) & table.c.engine_url.is_not(None) & _may_serve_again(by_itself)
    return max(select_in(connection, is_fit), key=lambda d: d.live_since or d.wanted_at, default=None)


def _may_serve_again(by_itself: bool) -> sa.ColumnElement[bool]:
    is_not_left = table.c.rollback_reason.is_(None)
    return is_not_left if by_itself else is_not_left | (table.c.rollback_reason == BY_HAND)


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
        back, left = _still_up(connection, by_itself=reason is not None), find_live_in(connection)
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

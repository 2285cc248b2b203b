"""Going back to the deployment that served before: one transaction if it is still up.

Owns which one that is, and that users never come back to one that was left for a fault without a person's word.
"""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from fine_tune_assets.ledger import audit
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.deployments import (
    BEHIND,
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


def find_back(ledger: Ledger) -> Back | None:
    """What served before and may again: the one that is still up, else the last one of another release than what serves now."""
    with ledger.read() as connection:
        return _find_back(connection)


def _find_back(connection: sa.Connection) -> Back | None:
    up = _still_up(connection)
    if up is not None:
        return Back(up, is_up=True)
    live = find_live_in(connection)
    served = table.c.live_since.is_not(None) & table.c.rollback_reason.is_(None) & (table.c.state == "stopped")
    known = [d for d in select_in(connection, served) if live is None or d.release_id != live.release_id]
    last = max(known, key=lambda d: d.live_since or d.wanted_at, default=None)
    return None if last is None else Back(last, is_up=False)


def _still_up(connection: sa.Connection) -> Deployment | None:
    is_fit = table.c.state.in_(BEHIND) & table.c.engine_url.is_not(None) & table.c.rollback_reason.is_(None)
    return max(select_in(connection, is_fit), key=lambda d: d.live_since or d.wanted_at, default=None)


def roll_back(
    ledger: Ledger,
    by: str,
    *,
    leaving: str | None = None,
    reason: str | None = None,
    keep_until: datetime | None = None,
) -> Deployment:
    """Send users back to the deployment that served before and is still up; return it.

    `leaving`: the deployment that it is about; if another one is live by now, nothing is done. `reason`: why, if no person asked
    for it; what is left is not kept then. Raises TransitionError if none is up or another one is live, GateClosedError if the
    verdict on its release no longer lets it through. Nothing changes then.
    """
    with ledger.begin() as connection:
        back, left = _still_up(connection), find_live_in(connection)
        if back is None:
            raise TransitionError("No deployment that served before is still up.")
        if leaving is not None and (left is None or left.deployment_id != leaving):
            raise TransitionError(f"Deployment {leaving} is not live any more.")
        make_live_in(connection, back, by, keep_until=None if reason else keep_until, has_served=True)
        if left is not None:
            if reason:
                set_in(connection, left.deployment_id, rollback_reason=reason, detail=f"left by itself: {reason}")
            audit.append(connection, by, "rolled back", f"release {left.release_id}")
        return require_in(connection, back.deployment_id)

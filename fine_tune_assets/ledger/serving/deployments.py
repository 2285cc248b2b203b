"""Deployments of releases on two colours, blue and green, of which at most one is live.

Defines the states and their allowed transitions. `served_models` requests and switches, the supervisor reports, the gateway
reads. A switch is one transaction: users see either the old or the new release.
"""

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import sqlalchemy as sa

from fine_tune_assets.core.errors import materialize_hint
from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.database import Ledger, read_transaction
from fine_tune_assets.ledger.encryption import decrypt, derive_key, encrypt
from fine_tune_assets.ledger.ledger_errors import TransitionError, UnknownRecordError
from fine_tune_assets.ledger.ledger_tables import deployments as table
from fine_tune_assets.ledger.seals import select_sealed_records
from fine_tune_assets.ledger.serving.canary_rows import CanaryPlan, close_canary, request_canary, require_cleared_canary
from fine_tune_assets.ledger.serving.release_records import find_release, require_promotable
from fine_tune_assets.ledger.serving.switch_log import record_switch

State = Literal["requested", "starting", "ready", "live", "draining", "standby", "stopped", "failed"]
Colour = Literal["blue", "green"]
SUPERVISOR = "supervisor"

ALLOWED_TRANSITIONS: dict[str, frozenset[str]] = {
    "requested": frozenset({"starting", "stopped", "failed"}),
    "starting": frozenset({"starting", "ready", "stopped", "failed"}),
    "ready": frozenset({"starting", "live", "stopped", "failed"}),
    "live": frozenset({"live", "draining", "failed"}),
    "draining": frozenset({"standby", "stopped", "live"}),
    "standby": frozenset({"stopped", "live"}),
    "stopped": frozenset(),
    "failed": frozenset(),
}
"""State → allowed next states. `live` → `live` is an engine that restarted at another address.

`standby` keeps its engine up for an instant rollback, and answers only requests that the live deployment failed.
"""
PENDING = ("requested", "starting", "ready")
ROLLBACK_READY = ("draining", "standby")
"""States of earlier deployments whose engine is still up."""
ENDED = ("stopped", "failed")
CHANGED_RELEASE = "found changed release"
"""Audit log action of the supervisor when it takes an engine out."""
MANUAL = "manual"
"""`rollback_reason` after a rollback by a person."""


@dataclass(frozen=True)
class Deployment:
    deployment_id: str
    release_id: str
    line: str
    """The product line of the release."""
    colour: Colour
    state: State
    engine_url: str | None
    """None while its engine is down, also while a live one restarts."""
    engine_key: bytes | None
    """Encrypted; see `open_engine_key`."""
    detail: str
    """Details of the state for people; never report text."""
    requested_at: datetime
    changed_at: datetime
    live_since: datetime | None = None
    """When users were last switched to it; None if never."""
    standby_until: datetime | None = None
    """Until when its engine stays up after draining; None: it stops once drained."""
    is_rollback: bool = False
    """Requested as a rollback to an earlier release."""
    rollback_reason: str | None = None
    """Why a rollback moved users off this deployment; None if none did.

    `MANUAL`: only a manual rollback may return to it. Anything else is a fault: no rollback may.
    """
    probes: str | None = None
    """Probe results as JSON; None until it is warm."""


def request_deployment(
    ledger: Ledger,
    release_id: str,
    by: str = "served_models",
    *,
    is_rollback: bool = False,
    canary_plan: CanaryPlan | None = None,
) -> Deployment:
    """Request a release on the idle colour; return the existing deployment if it is live or already requested.

    Pending deployments of other releases are superseded, and standby ones make room. With a `canary_plan`, the deployment goes
    live only after its canary release has passed; rollbacks and the first release need none. Raises UnknownRecordError, or
    GateClosedError if the newest verdict does not allow the release.
    """
    with ledger.begin() as connection:
        release = find_release(connection, release_id)
        if release is None:
            raise UnknownRecordError(f"Unknown release {release_id}. {materialize_hint('releases')}")
        live = find_live_deployment(connection)
        pending = _supersede_others(connection, release_id, by, keep_same=live is None or live.release_id != release_id)
        if live is not None and live.release_id == release_id:
            return live
        require_promotable(connection, release, is_rollback=is_rollback)
        if pending is not None:
            if is_rollback and not pending.is_rollback:
                update_deployment(connection, pending.deployment_id, is_rollback=True)
            is_any_rollback = is_rollback or pending.is_rollback
            request_canary(connection, pending.deployment_id, None if is_any_rollback or live is None else canary_plan)
            return require_deployment(connection, pending.deployment_id)
        _retire_standby(connection, release_id, by)
        now = datetime.now(UTC)
        colour: Colour = "green" if live is not None and live.colour == "blue" else "blue"
        row = Deployment(
            deployment_id=uuid.uuid4().hex,
            release_id=release_id,
            line=release.line,
            colour=colour,
            state="requested",
            engine_url=None,
            engine_key=None,
            detail="",
            requested_at=now,
            changed_at=now,
            is_rollback=is_rollback,
        )
        connection.execute(table.insert().values(**vars(row)))
        audit.append(connection, by, f"requested on {colour}", f"release {release_id}")
        if live is not None and not is_rollback:
            request_canary(connection, row.deployment_id, canary_plan)
        return row


def _supersede_others(connection: sa.Connection, release_id: str, by: str, keep_same: bool) -> Deployment | None:
    """Stop pending deployments of other releases; return the pending one of this release, if any."""
    pending = None
    for deployment in select_deployments(connection, table.c.state.in_(PENDING)):
        if keep_same and deployment.release_id == release_id:
            pending = deployment
            continue
        update_deployment(
            connection, deployment.deployment_id, state="stopped", detail=f"superseded by release {release_id}"
        )
        close_canary(connection, deployment.deployment_id, "superseded", f"for release {release_id}")
        audit.append(connection, by, "superseded deployment", deployment.deployment_id)
    return pending


def _retire_standby(connection: sa.Connection, release_id: str, by: str) -> None:
    """Stop standby deployments, and skip standby for draining ones, to free memory. Does nothing while the live engine is down.

    The machine has room for two engines, not always for three.
    """
    live = find_live_deployment(connection)
    if live is None or live.engine_url is None:
        return
    detail = f"made room for release {release_id}"
    for old in select_deployments(connection, table.c.state.in_(ROLLBACK_READY) & table.c.standby_until.is_not(None)):
        state: State = "stopped" if old.state == "standby" else "draining"
        # Not `update_deployment`: draining time is measured from `changed_at`.
        values = {"state": state, "detail": detail, "standby_until": None}
        connection.execute(table.update().where(table.c.deployment_id == old.deployment_id).values(values))
        audit.append(connection, by, "stopped standby deployment", old.deployment_id)


def record_state(
    ledger: Ledger,
    deployment_id: str,
    state: State,
    *,
    engine_url: str | None = None,
    engine_key: bytes | None = None,
    probes: str | None = None,
    detail: str = "",
) -> Deployment:
    """Record a state. Raises TransitionError if it may not follow the current one.

    Never switches users: only `activate_deployment` enters `live` or `draining`.
    """
    with ledger.begin() as connection:
        current = require_deployment(connection, deployment_id)
        is_switch = state != current.state and state in ("live", "draining")
        if state not in ALLOWED_TRANSITIONS[current.state] or is_switch:
            raise TransitionError(f"Deployment {deployment_id} can't change from {current.state} to {state}.")
        values: dict[str, Any] = {"state": state, "detail": detail}
        if engine_url is not None:
            values |= {"engine_url": engine_url, "engine_key": engine_key}
        if probes is not None:
            values |= {"probes": probes}
        if state in ENDED:
            values |= {"engine_url": None, "engine_key": None}
        update_deployment(connection, deployment_id, **values)
        audit.append(connection, SUPERVISOR, f"reported {state}", f"deployment {deployment_id}")
        return require_deployment(connection, deployment_id)


def clear_engine(ledger: Ledger, deployment_id: str) -> None:
    """Clear the address and key of a dead engine, because another program may get its port."""
    with ledger.begin() as connection:
        found = select_deployments(
            connection, (table.c.deployment_id == deployment_id) & table.c.engine_url.is_not(None)
        )
        if found:
            update_deployment(connection, deployment_id, engine_url=None, engine_key=None)
            audit.append(connection, SUPERVISOR, "withdrew engine", f"deployment {deployment_id}")


def switch_traffic(
    ledger: Ledger, deployment_id: str, by: str = "served_models", *, standby_until: datetime | None = None
) -> Deployment:
    """Switch users to a ready deployment; the live one drains, then stays in standby until `standby_until`.

    Does nothing if it is already live. Raises TransitionError unless it is ready, has an engine and passed its required canary
    release; GateClosedError if the verdict no longer allows its release.
    """
    with ledger.begin() as connection:
        target = require_deployment(connection, deployment_id)
        if target.state == "live":
            return target
        if target.state != "ready":
            raise TransitionError(f"Deployment {deployment_id} is {target.state}; only a ready deployment can go live.")
        if target.engine_url is None:
            raise TransitionError(
                f"Deployment {deployment_id} has no running engine. Wait until the supervisor has restarted it."
            )
        if not target.is_rollback:
            require_cleared_canary(
                connection, deployment_id, has_live_deployment=find_live_deployment(connection) is not None
            )
        reason = MANUAL if target.is_rollback else None
        activate_deployment(
            connection, target, by, standby_until=standby_until, is_rollback=target.is_rollback, reason=reason
        )
        return require_deployment(connection, deployment_id)


def activate_deployment(
    connection: sa.Connection,
    deployment: Deployment,
    by: str,
    *,
    standby_until: datetime | None,
    is_rollback: bool,
    reason: str | None = None,
) -> None:
    """Check the gate and switch users to `deployment`; the live one drains.

    `reason` is the rollback reason; it also applies to other deployments of the release that users leave.
    """
    release = find_release(connection, deployment.release_id)
    if release is None:
        raise UnknownRecordError(f"Unknown release {deployment.release_id}.")
    require_promotable(connection, release, is_rollback)
    live = find_live_deployment(connection)
    if live is not None:
        update_deployment(connection, live.deployment_id, state="draining", detail="", standby_until=standby_until)
        if reason is not None:
            is_same_release = table.c.state.in_(ROLLBACK_READY) & (table.c.release_id == live.release_id)
            connection.execute(table.update().where(is_same_release).values(rollback_reason=reason))
    now = datetime.now(UTC)
    cleared = {"detail": "", "standby_until": None, "rollback_reason": None}
    update_deployment(connection, deployment.deployment_id, state="live", live_since=now, **cleared)
    record_switch(connection, by, deployment.colour, deployment.release_id)


def find_live_deployment(target: Ledger | sa.Connection) -> Deployment | None:
    return next(iter(select_deployments(target, table.c.state == "live")), None)


def find_deployment(target: Ledger | sa.Connection, deployment_id: str) -> Deployment | None:
    return next(iter(select_deployments(target, table.c.deployment_id == deployment_id)), None)


def list_deployments(ledger: Ledger) -> list[Deployment]:
    """Every deployment, oldest first."""
    return select_deployments(ledger, sa.true())


def list_current_deployments(ledger: Ledger) -> list[Deployment]:
    """Deployments that are neither stopped nor failed, oldest first."""
    return select_deployments(ledger, table.c.state.not_in(ENDED))


def seal_engine_key(key: bytes, deployment_id: str, engine_key: str) -> bytes:
    return encrypt(derive_key(key, "engine-keys"), engine_key, f"engine key of deployment {deployment_id}")


def open_engine_key(key: bytes, deployment_id: str, sealed: bytes | None) -> str:
    """The engine's API key. Raises LedgerError if it can't be decrypted, UnknownRecordError if there is none."""
    if sealed is None:
        raise UnknownRecordError(f"Deployment {deployment_id} has no engine.")
    return decrypt(derive_key(key, "engine-keys"), sealed, f"engine key of deployment {deployment_id}")


def select_deployments(target: Ledger | sa.Connection, condition: sa.ColumnElement[bool]) -> list[Deployment]:
    query = sa.select(table).where(condition).order_by(table.c.sequence)
    with read_transaction(target) as connection:
        return select_sealed_records(connection, query, Deployment)


def require_deployment(connection: sa.Connection, deployment_id: str) -> Deployment:
    found = find_deployment(connection, deployment_id)
    if found is None:
        raise UnknownRecordError(f"Unknown deployment {deployment_id}.")
    return found


def update_deployment(connection: sa.Connection, deployment_id: str, **values: Any) -> None:
    condition = table.c.deployment_id == deployment_id
    connection.execute(table.update().where(condition).values(**values, changed_at=datetime.now(UTC)))

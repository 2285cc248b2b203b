"""Which release should run where: blue and green, one of them live.

Owns the states of a deployment and the legal ways between them. `served_models` wants and switches, the supervisor
reports, the gateway reads. A switch is one transaction: users see the old release or the new one, never neither.
"""

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import sqlalchemy as sa

from fine_tune_assets.core.errors import materialize_hint
from fine_tune_assets.ledger.audit import audit
from fine_tune_assets.ledger.database import Ledger, reading, select_fields
from fine_tune_assets.ledger.encryption import decrypt, derive_key, encrypt
from fine_tune_assets.ledger.errors import TransitionError, UnknownRecordError
from fine_tune_assets.ledger.schema import deployments as table
from fine_tune_assets.ledger.serving.releases import find_release, require_verdict_of
from fine_tune_assets.ledger.serving.switch_log import record_switch
from fine_tune_assets.ledger.serving.trial_rows import TrialPlan, ask_in, close_in, require_tried_in

State = Literal["wanted", "starting", "ready", "live", "draining", "kept", "stopped", "failed"]
Colour = Literal["blue", "green"]
SUPERVISOR = "supervisor"

MAY_FOLLOW: dict[str, frozenset[str]] = {
    "wanted": frozenset({"starting", "stopped", "failed"}),
    "starting": frozenset({"starting", "ready", "stopped", "failed"}),
    "ready": frozenset({"starting", "live", "stopped", "failed"}),
    "live": frozenset({"live", "draining", "failed"}),
    "draining": frozenset({"kept", "stopped", "live"}),
    "kept": frozenset({"stopped", "live"}),
    "stopped": frozenset(),
    "failed": frozenset(),
}
"""State → states that may follow. `live` → `live` is an engine that was started again, at another address. `kept` stays up,
so that a rollback takes no start, and answers only whom the live one failed."""
PENDING = ("wanted", "starting", "ready")
BEHIND = ("draining", "kept")
"""Served before, and still up."""
ENDED = ("stopped", "failed")
BY_HAND = "by hand"
"""The `rollback_reason` of what a person left."""


@dataclass(frozen=True)
class Deployment:
    deployment_id: str
    release_id: str
    line: str
    """The product line of the release."""
    colour: Colour
    state: State
    engine_url: str | None
    """None while no engine of it answers: also of a live one that is being started again."""
    engine_key: bytes | None
    """Encrypted; `open_engine_key` reads it."""
    detail: str
    """What a person should know about the state; never text of a report."""
    wanted_at: datetime
    changed_at: datetime
    live_since: datetime | None = None
    """When users were last sent to it; None for one that never served."""
    keep_until: datetime | None = None
    """Until when it stays up after it drained; None: it is stopped then."""
    is_rollback: bool = False
    """Wanted to go back to a release that served before."""
    rollback_reason: str | None = None
    """Why users were taken back from it: `BY_HAND`, and only a person's word brings them here again, or a fault, and nothing
    does. None for any other."""
    probes: str | None = None
    """What the probes found, as JSON; None until it is warm."""


def want_release(
    ledger: Ledger,
    release_id: str,
    by: str = "served_models",
    *,
    is_rollback: bool = False,
    trial: TrialPlan | None = None,
) -> Deployment:
    """Ask for a release on the idle colour. Already live, or already asked for: that deployment.

    A deployment of another release that is not live yet is given up, and one that is kept makes room. `trial`: what it has to
    pass before it goes live; a rollback has none, nor has the first release of all. Raises UnknownRecordError, or GateClosedError
    if the newest verdict on the release does not let it through.
    """
    with ledger.begin() as connection:
        release = find_release(connection, release_id)
        if release is None:
            raise UnknownRecordError(f"There is no release {release_id}. {materialize_hint('releases')}")
        live = live_deployment(connection)
        pending = _give_up_others(connection, release_id, by, keep_same=live is None or live.release_id != release_id)
        if live is not None and live.release_id == release_id:
            return live
        require_verdict_of(connection, release, has_served=is_rollback)
        if pending is not None:
            if is_rollback and not pending.is_rollback:
                set_in(connection, pending.deployment_id, is_rollback=True)
            is_back = is_rollback or pending.is_rollback
            ask_in(connection, pending.deployment_id, None if is_back or live is None else trial)
            return require_in(connection, pending.deployment_id)
        _make_room(connection, release_id, by)
        now = datetime.now(UTC)
        colour: Colour = "green" if live is not None and live.colour == "blue" else "blue"
        row = Deployment(
            deployment_id=uuid.uuid4().hex,
            release_id=release_id,
            line=release.line,
            colour=colour,
            state="wanted",
            engine_url=None,
            engine_key=None,
            detail="",
            wanted_at=now,
            changed_at=now,
            is_rollback=is_rollback,
        )
        connection.execute(table.insert().values(**vars(row)))
        audit.append(connection, by, f"wanted on {colour}", f"release {release_id}")
        if live is not None and not is_rollback:
            ask_in(connection, row.deployment_id, trial)
        return row


def _give_up_others(connection: sa.Connection, release_id: str, by: str, keep_same: bool) -> Deployment | None:
    """Stop pending deployments of other releases; return the pending one of this release, if any."""
    pending = None
    for deployment in select_in(connection, table.c.state.in_(PENDING)):
        if keep_same and deployment.release_id == release_id:
            pending = deployment
            continue
        set_in(connection, deployment.deployment_id, state="stopped", detail=f"given up for release {release_id}")
        close_in(connection, deployment.deployment_id, "given up", f"for release {release_id}")
        audit.append(connection, by, "gave up deployment", deployment.deployment_id)
    return pending


def _make_room(connection: sa.Connection, release_id: str, by: str) -> None:
    """Two engines fit on the machine, three may not: what is kept for a rollback goes before the next one starts, and what still
    drains goes when its last answer is out. Unless no other engine answers users now."""
    live = live_deployment(connection)
    if live is None or live.engine_url is None:
        return
    detail = f"made room for release {release_id}"
    for old in select_in(connection, table.c.state.in_(BEHIND) & table.c.keep_until.is_not(None)):
        state: State = "stopped" if old.state == "kept" else "draining"
        # Not `set_in`: how long it has drained is counted from its last change.
        values = {"state": state, "detail": detail, "keep_until": None}
        connection.execute(table.update().where(table.c.deployment_id == old.deployment_id).values(values))
        audit.append(connection, by, "stopped keeping deployment", old.deployment_id)


def report_state(
    ledger: Ledger,
    deployment_id: str,
    state: State,
    *,
    engine_url: str | None = None,
    engine_key: bytes | None = None,
    probes: str | None = None,
    detail: str = "",
) -> Deployment:
    """Record what became of a deployment. Raises TransitionError for a state that may not follow the present one.

    Nothing becomes live or draining here: only `switch_live` does that.
    """
    with ledger.begin() as connection:
        current = require_in(connection, deployment_id)
        is_switch = state != current.state and state in ("live", "draining")
        if state not in MAY_FOLLOW[current.state] or is_switch:
            raise TransitionError(f"Deployment {deployment_id} is {current.state} and can't become {state}.")
        values: dict[str, Any] = {"state": state, "detail": detail}
        if engine_url is not None:
            values |= {"engine_url": engine_url, "engine_key": engine_key}
        if probes is not None:
            values |= {"probes": probes}
        if state in ENDED:
            values |= {"engine_url": None, "engine_key": None}
        set_in(connection, deployment_id, **values)
        audit.append(connection, SUPERVISOR, f"reported {state}", f"deployment {deployment_id}")
        return require_in(connection, deployment_id)


def withdraw_engine(ledger: Ledger, deployment_id: str) -> None:
    """Forget the address and the key of an engine that is gone: another program may get its port. None there: nothing."""
    with ledger.begin() as connection:
        found = select_in(connection, (table.c.deployment_id == deployment_id) & table.c.engine_url.is_not(None))
        if found:
            set_in(connection, deployment_id, engine_url=None, engine_key=None)
            audit.append(connection, SUPERVISOR, "withdrew engine", f"deployment {deployment_id}")


def switch_live(
    ledger: Ledger, deployment_id: str, by: str = "served_models", *, keep_until: datetime | None = None
) -> Deployment:
    """Send users to a ready deployment; the one that was live drains, and is kept after that until `keep_until`.

    Live already: nothing changes. Raises TransitionError unless it is ready, has an engine and passed the trial that was asked
    for, GateClosedError if the verdict on its release no longer lets it through.
    """
    with ledger.begin() as connection:
        wanted = require_in(connection, deployment_id)
        if wanted.state == "live":
            return wanted
        if wanted.state != "ready":
            raise TransitionError(f"Deployment {deployment_id} is {wanted.state}: only a ready one can go live.")
        if wanted.engine_url is None:
            raise TransitionError(f"Deployment {deployment_id} has no engine now: wait until it is started again.")
        if not wanted.is_rollback:
            require_tried_in(connection, deployment_id, is_anything_live=live_deployment(connection) is not None)
        reason = BY_HAND if wanted.is_rollback else None
        make_live_in(connection, wanted, by, keep_until=keep_until, has_served=wanted.is_rollback, reason=reason)
        return require_in(connection, deployment_id)


def make_live_in(
    connection: sa.Connection,
    wanted: Deployment,
    by: str,
    *,
    keep_until: datetime | None,
    has_served: bool,
    reason: str | None = None,
) -> None:
    """Flip users to `wanted`, behind the gate; the one that was live drains. `reason`: of a rollback. Whatever else still runs
    the release that is left is left with it."""
    release = find_release(connection, wanted.release_id)
    if release is None:
        raise UnknownRecordError(f"There is no release {wanted.release_id}.")
    require_verdict_of(connection, release, has_served)
    live = live_deployment(connection)
    if live is not None:
        set_in(connection, live.deployment_id, state="draining", detail="", keep_until=keep_until)
        if reason is not None:
            is_left = table.c.state.in_(BEHIND) & (table.c.release_id == live.release_id)
            connection.execute(table.update().where(is_left).values(rollback_reason=reason))
    now = datetime.now(UTC)
    fresh = {"detail": "", "keep_until": None, "rollback_reason": None}
    set_in(connection, wanted.deployment_id, state="live", live_since=now, **fresh)
    record_switch(connection, by, wanted.colour, wanted.release_id)


def live_deployment(target: Ledger | sa.Connection) -> Deployment | None:
    return next(iter(select_in(target, table.c.state == "live")), None)


def find_deployment(target: Ledger | sa.Connection, deployment_id: str) -> Deployment | None:
    return next(iter(select_in(target, table.c.deployment_id == deployment_id)), None)


def deployments(ledger: Ledger) -> list[Deployment]:
    """Every deployment that ever was, oldest first."""
    return select_in(ledger, sa.true())


def current_deployments(ledger: Ledger) -> list[Deployment]:
    """Those that are not stopped or failed, oldest first."""
    return select_in(ledger, table.c.state.not_in(ENDED))


def seal_engine_key(key: bytes, deployment_id: str, engine_key: str) -> bytes:
    return encrypt(derive_key(key, "engine-keys"), engine_key, f"engine key of deployment {deployment_id}")


def open_engine_key(key: bytes, deployment_id: str, sealed: bytes | None) -> str:
    """The engine's API key. Raises LedgerError if it can't be decrypted, UnknownRecordError if there is none."""
    if sealed is None:
        raise UnknownRecordError(f"Deployment {deployment_id} has no engine.")
    return decrypt(derive_key(key, "engine-keys"), sealed, f"engine key of deployment {deployment_id}")


def select_in(target: Ledger | sa.Connection, condition: sa.ColumnElement[bool]) -> list[Deployment]:
    query = select_fields(table, Deployment).where(condition).order_by(table.c.sequence)
    with reading(target) as connection:
        return [Deployment(**row) for row in connection.execute(query).mappings()]


def require_in(connection: sa.Connection, deployment_id: str) -> Deployment:
    found = find_deployment(connection, deployment_id)
    if found is None:
        raise UnknownRecordError(f"There is no deployment {deployment_id}.")
    return found


def set_in(connection: sa.Connection, deployment_id: str, **values: Any) -> None:
    condition = table.c.deployment_id == deployment_id
    connection.execute(table.update().where(condition).values(**values, changed_at=datetime.now(UTC)))

"""A ready deployment on trial: some users are answered by it before all are switched to it.

Owns its beginning and its ends, and who may be asked anything in between. What is judged is in `serving.trying`. The rows are
`trial_rows`'.
"""

from datetime import datetime

import sqlalchemy as sa

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.ledger.audit import audit
from fine_tune_assets.ledger.database import Ledger, reading
from fine_tune_assets.ledger.schema import deployment_outcomes, trials
from fine_tune_assets.ledger.schema import deployments as deployments_table
from fine_tune_assets.ledger.serving.deployments import (
    PENDING,
    SUPERVISOR,
    Deployment,
    live_deployment,
    require_in,
    select_in,
    set_in,
)
from fine_tune_assets.ledger.serving.releases import find_release, require_verdict_of
from fine_tune_assets.ledger.serving.trial_rows import Trial, close_in, find_trial, set_begun_in


def open_trial(ledger: Ledger) -> tuple[Trial, Deployment] | None:
    """The one that was asked for or is under way, of a deployment that is on its way to users. There is never a second."""
    with ledger.read() as connection:
        unended = sa.select(trials.c.deployment_id).where(trials.c.ended_at.is_(None))
        is_open = deployments_table.c.deployment_id.in_(unended) & deployments_table.c.state.in_(PENDING)
        found = select_in(connection, is_open)
        trial = find_trial(connection, found[-1].deployment_id) if found else None
        return None if trial is None else (trial, found[-1])


def begin_trial(ledger: Ledger, deployment_id: str, now: datetime) -> None:
    """Of a ready deployment with an engine; of any other, and of one whose trial began or ended already, nothing. Waived where no
    other engine answers users: nobody could be kept from it, and no failed request asked elsewhere."""
    with ledger.begin() as connection:
        deployment, trial = require_in(connection, deployment_id), find_trial(connection, deployment_id)
        is_ready = deployment.state == "ready" and deployment.engine_url is not None
        if trial is None or trial.begun_at is not None or trial.ended_at is not None or not is_ready:
            return
        live = live_deployment(connection)
        if live is None or live.engine_url is None:
            close_in(connection, deployment_id, "waived", "no other engine answers users")
            return
        # Of a trial that was interrupted: requests that failed since the engine was gone would count against the new one.
        counted = deployment_outcomes.c.deployment_id == deployment_id
        connection.execute(deployment_outcomes.delete().where(counted))
        set_begun_in(connection, deployment_id, now)
        audit.append(connection, SUPERVISOR, "began trial", f"deployment {deployment_id}")


def interrupt_trial(ledger: Ledger, deployment_id: str) -> None:
    """Its engine went with the supervisor: it begins anew when there is one."""
    with ledger.begin() as connection:
        set_begun_in(connection, deployment_id, None)


def pass_trial(ledger: Ledger, deployment_id: str, reason: str) -> None:
    """It may go live, if the verdict lets it then. Nothing where no trial is under way."""
    with ledger.begin() as connection:
        trial = find_trial(connection, deployment_id)
        if trial is None or not trial.is_under_way:
            return
        close_in(connection, deployment_id, "passed", reason)
        audit.append(connection, SUPERVISOR, "passed trial", f"deployment {deployment_id}")


def fail_trial(ledger: Ledger, deployment_id: str, reason: str) -> bool:
    """Send nobody there any more: the deployment fails, and what is live stays. False where no trial is under way."""
    with ledger.begin() as connection:
        trial = find_trial(connection, deployment_id)
        if trial is None or not trial.is_under_way or require_in(connection, deployment_id).state not in PENDING:
            return False
        close_in(connection, deployment_id, "failed", reason)
        gone = {"engine_url": None, "engine_key": None}
        set_in(connection, deployment_id, state="failed", detail=f"ended on trial: {reason}", **gone)
        audit.append(connection, SUPERVISOR, "failed trial", f"deployment {deployment_id}")
        return True


def closed_gate_of(target: Ledger | sa.Connection, release_id: str) -> str | None:
    """Why the release may not be tried any more; None: it may."""
    with reading(target) as connection:
        release = find_release(connection, release_id)
        if release is None:
            return f"there is no release {release_id}"
        try:
            require_verdict_of(connection, release)
        except GateClosedError as error:
            return str(error)
        return None


def trial_that_may_ask(ledger: Ledger, deployment_id: str, now: datetime) -> Trial | None:
    """The trial under way of this deployment, if a request may be sent there now: it is up, and the verdict on it holds."""
    with ledger.read() as connection:
        trial = find_trial(connection, deployment_id)
        if trial is None or not trial.is_under_way or trial.given_up_at is None or now >= trial.given_up_at:
            return None
        deployment = require_in(connection, deployment_id)
        is_up = deployment.state == "ready" and deployment.engine_url is not None
        return trial if is_up and closed_gate_of(connection, deployment.release_id) is None else None

"""Deploys a release: requests the deployment, waits until it is ready and its canary release has passed, switches traffic.

The ledger checks the gate at each step.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.processes.memory import available_bytes
from fine_tune_assets.core.progress import Progress, ignore_progress
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.serving.canary_rows import CanaryPlan, find_canary
from fine_tune_assets.ledger.serving.deployments import (
    Deployment,
    find_deployment,
    find_live_deployment,
    request_deployment,
    switch_traffic,
)
from fine_tune_assets.ledger.serving.rollbacks import RollbackTarget, find_rollback_target, roll_back
from fine_tune_assets.serving.canary_releases import describe_canary
from fine_tune_assets.serving.engine_start import GIB

START_SECONDS = 1800.0
"""vLLM takes up to 3 minutes to start on a CPU (measured); large weights take longer to load."""
_REPORT_SECONDS = 15.0
"""Interval of progress reports while the state does not change: vLLM takes minutes to start."""
_POLL_SECONDS = 0.2
_STEPS = ("requested", "starting", "ready", "live")
Retention = Callable[[], timedelta | None]
"""How long the current release is kept. Called right before the switch, when the new engine has taken its memory."""


class ServingError(FineTuneError):
    """A release did not go live."""


def deploy_release(
    ledger: Ledger,
    release_id: str,
    *,
    timeout_seconds: float,
    by: str = "served_models",
    retention: Retention = lambda: None,
    canary: CanaryPlan | None = None,
    progress: Progress = ignore_progress,
) -> Deployment:
    """Make a release live and return its deployment; does nothing if it is live already.

    The previous release is kept for `retention` after the switch, and until its last answer is complete. `canary`: the plan of
    the canary release before the switch. Raises ServingError if the deployment or its canary release fails or takes too long,
    GateClosedError if the verdict does not allow it. The live release then stays live.
    """
    deployment = request_deployment(ledger, release_id, by, canary_plan=canary)
    if deployment.state == "live":
        return deployment
    wait_until_ready(ledger, deployment.deployment_id, timeout_seconds, progress)
    wait_for_canary(ledger, deployment.deployment_id, timeout_seconds, progress)
    return switch_traffic(ledger, deployment.deployment_id, by, standby_until=_keep_until(retention))


def roll_back_release(
    ledger: Ledger,
    *,
    timeout_seconds: float,
    by: str,
    retention: Retention = lambda: None,
    progress: Progress = ignore_progress,
) -> Deployment:
    """Switch to the previous release: takes seconds while it is kept, otherwise as long as an engine start.

    Raises ServingError if the previous release is missing or does not start, GateClosedError if its verdict no longer allows it.
    The live release then stays live.
    """
    back = find_rollback_target(ledger)
    if back is None:
        raise ServingError(
            "No release to roll back to: no other release has been live, or it was rolled back for a fault."
        )
    if back.is_running:
        return roll_back(ledger, by, standby_until=_keep_until(retention))
    deployment = request_deployment(ledger, back.deployment.release_id, by, is_rollback=True)
    wait_until_ready(ledger, deployment.deployment_id, timeout_seconds, progress)
    return switch_traffic(ledger, deployment.deployment_id, by, standby_until=_keep_until(retention))


def compute_retention(keep_minutes: int, free_bytes: int, reserve_bytes: int) -> timedelta | None:
    """How long the current release is kept after a switch; None if the setting is 0 or memory is short."""
    if keep_minutes == 0 or free_bytes < reserve_bytes:
        return None
    return timedelta(minutes=keep_minutes) if keep_minutes > 0 else timedelta(days=36_500)


def current_retention(settings: Settings) -> timedelta | None:
    """`compute_retention` on this machine, now."""
    return compute_retention(
        settings.rollback.keep_previous_minutes, available_bytes(), settings.engine.memory_reserve_gb * GIB
    )


def describe_retention(retention: timedelta | None, keep_minutes: int) -> str:
    if retention is not None:
        until = f"for {keep_minutes} minutes" if keep_minutes > 0 else "until the next release needs its memory"
        return f"the previous release is kept {until}"
    reason = "rollback.keep_previous_minutes is 0" if keep_minutes == 0 else "memory is short"
    return f"the previous release is not kept: {reason}"


def describe_rollback(target: RollbackTarget | None) -> str:
    """What a rollback would do now: the one wording for every page and command."""
    if target is None:
        return "no release to roll back to"
    duration = "takes seconds" if target.is_running else "takes as long as an engine start, since it is not kept"
    return f"to {target.deployment.release_id}, {duration}"


def _keep_until(retention: Retention) -> datetime | None:
    duration = retention()
    return None if duration is None else datetime.now(UTC) + duration


def wait_until_ready(
    ledger: Ledger,
    deployment_id: str,
    timeout_seconds: float,
    progress: Progress = ignore_progress,
    report_seconds: float = _REPORT_SECONDS,
) -> Deployment:
    """Wait for the supervisor. Reports progress at each state change and every `report_seconds`.

    Raises ServingError if the deployment failed or is not ready in time.
    """
    deadline = time.monotonic() + timeout_seconds
    state, since, reported_at = "", time.monotonic(), 0.0
    while True:
        deployment = find_deployment(ledger, deployment_id)
        if deployment is None or deployment.state in ("failed", "stopped", "draining", "standby"):
            detail = f"{deployment.state}: {deployment.detail}" if deployment else "not in the ledger"
            raise ServingError(f"Deployment {deployment_id} did not become ready; it is {detail}")
        waited = time.monotonic() - since
        if deployment.state != state or waited - reported_at >= report_seconds:
            state, reported_at = deployment.state, waited
            progress(_STEPS.index(state), len(_STEPS) - 1, f"steps to a live release ({state}, {waited:.0f} s)")
        if deployment.state == "live" or (deployment.state == "ready" and deployment.engine_url is not None):
            return deployment
        if time.monotonic() >= deadline:
            raise ServingError(
                f"Deployment {deployment_id} is still {deployment.state} after {timeout_seconds:g} s. "
                "Check the supervisor with `fine-tune status`; `fine-tune up` starts it."
            )
        time.sleep(_POLL_SECONDS)


def wait_for_canary(
    ledger: Ledger, deployment_id: str, timeout_seconds: float, progress: Progress = ignore_progress
) -> None:
    """Wait until the deployment's canary release ends; returns at once if it has none or no release is live.

    Raises ServingError if it failed, or has not started or ended `timeout_seconds` after it should have.
    """
    reported_at, late_since = -_REPORT_SECONDS, time.monotonic()
    while (canary := find_canary(ledger, deployment_id)) is not None:
        # The engine may be restarting, even after the canary release.
        deployment = wait_until_ready(ledger, deployment_id, timeout_seconds)
        if canary.is_cleared or deployment.state == "live" or find_live_deployment(ledger) is None:
            return
        now = time.monotonic()
        if canary.deadline is not None and datetime.now(UTC) < canary.deadline:
            late_since = now
        if now - late_since >= timeout_seconds:
            raise ServingError(
                f"The canary release of deployment {deployment_id} has not started or ended in time. "
                "Check the supervisor with `fine-tune status`; `fine-tune up` starts it."
            )
        if now - reported_at >= _REPORT_SECONDS:
            reported_at = now
            state = describe_canary(ledger, deployment_id, deployment.release_id)
            progress(_STEPS.index("ready"), len(_STEPS) - 1, f"steps to a live release (canary: {state})")
        time.sleep(_POLL_SECONDS)

"""Puts a release in front of users: wants it, waits for the supervisor to make it ready and for its trial, switches.

Owns the order of these. The gate is in the ledger and closes at each of them.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.processes.memory import available_bytes
from fine_tune_assets.core.progress import Progress, silent
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.serving.deployments import (
    Deployment,
    find_deployment,
    live_deployment,
    switch_live,
    want_release,
)
from fine_tune_assets.ledger.serving.rollbacks import Back, find_back, roll_back
from fine_tune_assets.ledger.serving.trial_rows import TrialPlan, find_trial
from fine_tune_assets.serving.engine_start import GIB
from fine_tune_assets.serving.trials import trial_words

START_SECONDS = 1800.0
"""vLLM takes up to 3 minutes to start on a CPU (measured); large weights take longer to load."""
_TELL_SECONDS = 15.0
"""How often it is told that it is still starting: vLLM takes minutes."""
_LOOK_SECONDS = 0.2
_STEPS = ("wanted", "starting", "ready", "live")
Keeping = Callable[[], timedelta | None]
"""How long what serves now is kept, asked right before the switch: only then is the memory taken that the new engine needs."""


class ServingError(FineTuneError):
    """A release did not come up."""


def serve_release(
    ledger: Ledger,
    release_id: str,
    *,
    timeout_seconds: float,
    by: str = "served_models",
    keep_old: Keeping = lambda: None,
    trial: TrialPlan | None = None,
    progress: Progress = silent,
) -> Deployment:
    """Make a release live and return its deployment. Live already: nothing happens. What was live stays up for `keep_old` after
    the switch, and until its last answer is out. `trial`: what it has to pass before the switch.

    Raises ServingError when it fails, alone or on trial, or takes longer to come up, GateClosedError when its verdict does not
    let it through. Whatever was live before stays live then.
    """
    deployment = want_release(ledger, release_id, by, trial=trial)
    if deployment.state == "live":
        return deployment
    wait_until_ready(ledger, deployment.deployment_id, timeout_seconds, progress)
    wait_until_tried(ledger, deployment.deployment_id, timeout_seconds, progress)
    return switch_live(ledger, deployment.deployment_id, by, keep_until=_until(keep_old))


def go_back(
    ledger: Ledger, *, timeout_seconds: float, by: str, keep_old: Keeping = lambda: None, progress: Progress = silent
) -> Deployment:
    """Roll back: send users to the release that served before, in seconds while it is kept, else as long as a start takes.

    Raises ServingError when there is nothing to go back to or it does not come up, GateClosedError when its verdict does not let
    it through any more. What serves now goes on serving then.
    """
    back = find_back(ledger)
    if back is None:
        raise ServingError(f"There is {rollback_words(None)}: no other release has served, or it was left for a fault.")
    if back.is_up:
        return roll_back(ledger, by, keep_until=_until(keep_old))
    wanted = want_release(ledger, back.deployment.release_id, by, is_rollback=True)
    wait_until_ready(ledger, wanted.deployment_id, timeout_seconds, progress)
    return switch_live(ledger, wanted.deployment_id, by, keep_until=_until(keep_old))


def keeping_time(keep_minutes: int, free_bytes: int, reserve_bytes: int) -> timedelta | None:
    """How long what serves now is kept after a switch; None: not at all, as it was set, or since memory is short."""
    if keep_minutes == 0 or free_bytes < reserve_bytes:
        return None
    return timedelta(minutes=keep_minutes) if keep_minutes > 0 else timedelta(days=36_500)


def keeping_here(settings: Settings) -> timedelta | None:
    """`keeping_time` on this machine, now."""
    return keeping_time(settings.rollback.keep_old_minutes, available_bytes(), settings.engine.memory_reserve_gb * GIB)


def keeping_words(keep_old: timedelta | None, keep_minutes: int) -> str:
    """Whether what served before is kept, and why not."""
    if keep_old is not None:
        until = f"for {keep_minutes} minutes" if keep_minutes > 0 else "until the next release needs its place"
        return f"what served before is kept {until}"
    return f"what served before is not kept: {'it was set so' if keep_minutes == 0 else 'memory is short'}"


def rollback_words(back: Back | None) -> str:
    """What a rollback would do now. The one wording of it, wherever it is shown."""
    if back is None:
        return "nothing to go back to"
    how = "in seconds while it is kept" if back.is_up else "as long as a start takes, since it is not kept"
    return f"to {back.deployment.release_id}, {how}"


def _until(keep_old: Keeping) -> datetime | None:
    kept = keep_old()
    return None if kept is None else datetime.now(UTC) + kept


def wait_until_ready(
    ledger: Ledger,
    deployment_id: str,
    timeout_seconds: float,
    progress: Progress = silent,
    tell_seconds: float = _TELL_SECONDS,
) -> Deployment:
    """Wait for the supervisor; progress is told at each new state, and every `tell_seconds`.

    Raises ServingError when it gave up, or did not answer in time.
    """
    deadline = time.monotonic() + timeout_seconds
    shown, since, told = "", time.monotonic(), 0.0
    while True:
        deployment = find_deployment(ledger, deployment_id)
        if deployment is None or deployment.state in ("failed", "stopped", "draining", "kept"):
            detail = f"{deployment.state}: {deployment.detail}" if deployment else "gone"
            raise ServingError(f"Deployment {deployment_id} did not come up; it is {detail}")
        waited = time.monotonic() - since
        if deployment.state != shown or waited - told >= tell_seconds:
            shown, told = deployment.state, waited
            progress(_STEPS.index(shown), len(_STEPS) - 1, f"steps to a served release ({shown}, {waited:.0f} s)")
        if deployment.state == "live" or (deployment.state == "ready" and deployment.engine_url is not None):
            return deployment
        if time.monotonic() >= deadline:
            raise ServingError(
                f"Deployment {deployment_id} is still {deployment.state} after {timeout_seconds:g} s. "
                "Is the supervisor running? `fine-tune status` tells, `fine-tune up` starts it."
            )
        time.sleep(_LOOK_SECONDS)


def wait_until_tried(ledger: Ledger, deployment_id: str, timeout_seconds: float, progress: Progress = silent) -> None:
    """Wait for the end of the trial, if one was asked for; not where nothing is live. Raises ServingError when it failed, or is
    not begun or ended `timeout_seconds` after it should be."""
    told, late_since = -_TELL_SECONDS, time.monotonic()
    while (trial := find_trial(ledger, deployment_id)) is not None:
        # Its engine may be away for a moment, also after the trial.
        deployment = wait_until_ready(ledger, deployment_id, timeout_seconds)
        if trial.lets_through or deployment.state == "live" or live_deployment(ledger) is None:
            return
        now = time.monotonic()
        if trial.given_up_at is not None and datetime.now(UTC) < trial.given_up_at:
            late_since = now
        if now - late_since >= timeout_seconds:
            raise ServingError(
                f"The trial of deployment {deployment_id} is neither begun nor ended in its time. "
                "Is the supervisor running? `fine-tune status` tells, `fine-tune up` starts it."
            )
        if now - told >= _TELL_SECONDS:
            told = now
            words = trial_words(ledger, deployment_id, deployment.release_id)
            progress(_STEPS.index("ready"), len(_STEPS) - 1, f"steps to a served release (on trial: {words})")
        time.sleep(_LOOK_SECONDS)

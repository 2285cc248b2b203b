"""Puts a release in front of users: wants it, waits for the supervisor to make it ready, switches.

Owns the order of these three. The gate is in the ledger and closes at each of them.
"""

import time

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.progress import Progress, silent
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.deployments import Deployment, find_deployment, switch_live, want_release

_STEPS = ("wanted", "starting", "ready", "live")


class ServingError(FineTuneError):
    """A release did not come up."""


def serve_release(
    ledger: Ledger, release_id: str, *, timeout_seconds: float, by: str = "served_models", progress: Progress = silent
) -> Deployment:
    """Make a release live and return its deployment. Live already: nothing happens.

    Raises ServingError when it fails or takes longer, GateClosedError when its verdict does not let it through.
    Whatever was live before stays live then.
    """
    deployment = want_release(ledger, release_id, by)
    if deployment.state == "live":
        return deployment
    wait_until_ready(ledger, deployment.deployment_id, timeout_seconds, progress)
    return switch_live(ledger, deployment.deployment_id, by)


def wait_until_ready(
    ledger: Ledger, deployment_id: str, timeout_seconds: float, progress: Progress = silent
) -> Deployment:
    """Wait for the supervisor. Raises ServingError when it gave up, or did not answer in time."""
    deadline = time.monotonic() + timeout_seconds
    shown = ""
    while True:
        deployment = find_deployment(ledger, deployment_id)
        if deployment is None or deployment.state in ("failed", "stopped", "draining"):
            detail = f"{deployment.state}: {deployment.detail}" if deployment else "gone"
            raise ServingError(f"Deployment {deployment_id} did not come up; it is {detail}")
        if deployment.state != shown:
            shown = deployment.state
            progress(_STEPS.index(shown), len(_STEPS) - 1, f"steps to a served release ({shown})")
        if deployment.state == "live" or (deployment.state == "ready" and deployment.engine_url is not None):
            return deployment
        if time.monotonic() >= deadline:
            raise ServingError(
                f"Deployment {deployment_id} is still {deployment.state} after {timeout_seconds:g} s. "
                "Is the supervisor running? `fine-tune status` tells, `fine-tune up` starts it."
            )
        time.sleep(0.2)

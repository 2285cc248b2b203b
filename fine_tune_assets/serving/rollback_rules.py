"""Decides from counts whether the live release is rolled back automatically.

A missing measurement never triggers a rollback, and neither does an engine that stopped if one request or one caller explains it:
it restarts, and its probes decide.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from fine_tune_assets.core.settings import RollbackSettings
from fine_tune_assets.engines.processes import is_alive, read_identity
from fine_tune_assets.engines.running_server import PROCESS_FILE
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.reviews.correction_records import count_corrections_since
from fine_tune_assets.ledger.serving.crash_suspects import is_explained_by_requests, list_suspects
from fine_tune_assets.ledger.serving.deployments import Deployment, find_live_deployment
from fine_tune_assets.ledger.serving.request_outcomes import RequestOutcomes, percentile_lower_bound, sum_outcomes_since
from fine_tune_assets.ledger.serving.rollbacks import find_rollback_target, roll_back

ROLLBACK_ACTOR = "rollback watch"
ENGINE_FAILED = "the engine died or hung"
REPORT_TIME = timedelta(seconds=2)
"""In which the gateway reports the requests that an engine was answering when it stopped."""
RESTART_TIME = timedelta(minutes=5)
"""In which an engine that a request stopped must return."""


@dataclass(frozen=True)
class DeploymentMetrics:
    """Measurements since the deployment went live."""

    age: timedelta
    is_answering: bool
    """Whether the engine's process runs and has an address, and has not stopped in the last moment."""
    is_crash_explained: bool
    """Whether one request or one caller explains why the engine stopped, and it has not been down for long."""
    outcomes: RequestOutcomes
    corrections: int


def find_rollback_reason(metrics: DeploymentMetrics, limits: RollbackSettings) -> str | None:
    """None if the release stays. The reason contains counts only."""
    if metrics.age >= timedelta(minutes=limits.window_minutes):
        return None
    if limits.on_engine_failure and not metrics.is_answering and not metrics.is_crash_explained:
        return ENGINE_FAILED
    return find_exceeded_limit(metrics.outcomes, metrics.corrections, limits)


def find_exceeded_limit(outcomes: RequestOutcomes, corrections: int, limits: RollbackSettings) -> str | None:
    """The first exceeded limit of requests and corrections, in words. Does not check window and engine."""
    found = outcomes.identifier_count
    if limits.identifier_count and found is not None and found >= limits.identifier_count:
        return f"{found} identifiers in answers"  # applies without a minimum number of requests
    if outcomes.requests < max(limits.minimum_requests, 1):
        return None
    if limits.error_percent and 100 * outcomes.failed >= limits.error_percent * outcomes.requests:
        return f"{outcomes.failed} of {outcomes.requests} requests failed"
    p95 = percentile_lower_bound(outcomes.durations, 0.95)
    if limits.p95_seconds and p95 is not None and p95 >= limits.p95_seconds:
        return f"5 % of answers took {p95:g} s or more"
    if limits.corrections_percent and 100 * corrections >= limits.corrections_percent * max(outcomes.answered, 1):
        return f"{corrections} corrections for {outcomes.answered} answers"
    return None


class RollbackWatch:
    """Watches the live release. Remembers when its engine stopped until it is known why, even if it has restarted by then."""

    def __init__(self, ledger: Ledger, engines_dir: Path, limits: RollbackSettings) -> None:
        self._ledger, self._engines_dir, self._limits = ledger, engines_dir, limits
        self._down: dict[str, datetime] = {}

    def roll_back_if_needed(self, now: datetime) -> str | None:
        """Roll back if there is a reason and the previous release is still running. Returns the reason.

        Raises GateClosedError if the previous release's verdict no longer allows it.
        """
        live = self._find_watched(now)
        if live is None:
            return None
        reason = find_rollback_reason(self._measure(live, now), self._limits)
        if reason is not None:
            roll_back(self._ledger, ROLLBACK_ACTOR, expected_live_id=live.deployment_id, reason=reason)
        return reason

    def is_needed(self, now: datetime) -> bool:
        """Whether the live release may be rolled back. If not, only a commit in the ledger changes that."""
        return self._find_watched(now) is not None

    def _find_watched(self, now: datetime) -> Deployment | None:
        """The live release, if it is new and the previous one is still running."""
        live, window = find_live_deployment(self._ledger), timedelta(minutes=self._limits.window_minutes)
        if live is None or live.live_since is None or not window or now - live.live_since >= window:
            return None
        back = find_rollback_target(self._ledger, is_automatic=True)
        return live if back is not None and back.is_running else None

    def _measure(self, live: Deployment, now: datetime) -> DeploymentMetrics:
        assert live.live_since is not None
        identity = read_identity(self._engines_dir / live.deployment_id / PROCESS_FILE)
        is_answering = live.engine_url is not None and identity is not None and is_alive(identity)
        down_since = self._down.get(live.deployment_id, None if is_answering else now)
        metrics = _measure_deployment(self._ledger, live, now, down_since)
        self._down = {}
        if down_since is not None and not (is_answering and now - down_since >= REPORT_TIME):
            self._down[live.deployment_id] = down_since
        return metrics


def is_crash_explained(
    ledger: Ledger, deployment_id: str, since: datetime, down_since: datetime, now: datetime
) -> bool:
    """Whether requests explain why the engine has been down since `down_since`.

    At first, the gateway may still be about to report them. After a while, an engine that does not return is at fault itself.
    """
    down_for = now - down_since
    if down_for < REPORT_TIME:
        return True
    suspects = list_suspects(ledger, since, deployment_id)
    is_reported = bool(suspects) and suspects[-1].at >= down_since - REPORT_TIME
    return is_reported and down_for < RESTART_TIME and is_explained_by_requests(suspects)


def sum_outcomes_at_fault(ledger: Ledger, deployment_id: str, since: datetime) -> RequestOutcomes:
    """Outcomes since that time, without the failures of requests that explain why the engine stopped."""
    outcomes = sum_outcomes_since(ledger, deployment_id, since)
    suspects = list_suspects(ledger, since, deployment_id)
    if not is_explained_by_requests(suspects):
        return outcomes
    return replace(outcomes, failed=max(0, outcomes.failed - len(suspects)))


def _measure_deployment(
    ledger: Ledger, live: Deployment, now: datetime, down_since: datetime | None
) -> DeploymentMetrics:
    assert live.live_since is not None
    return DeploymentMetrics(
        age=now - live.live_since,
        is_answering=down_since is None,
        is_crash_explained=down_since is not None
        and is_crash_explained(ledger, live.deployment_id, live.live_since, down_since, now),
        outcomes=sum_outcomes_at_fault(ledger, live.deployment_id, live.live_since),
        corrections=count_corrections_since(ledger, live.release_id, live.live_since),
    )

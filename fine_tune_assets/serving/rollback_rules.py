"""Whether what serves does so badly that users go back by themselves: a pure decision on counts, and the look that feeds it.

Owns the limits and the look. A figure that is missing speaks neither for nor against: only what was measured takes users back.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from fine_tune_assets.core.settings import RollbackSettings
from fine_tune_assets.engines.processes import is_alive, read_identity
from fine_tune_assets.engines.running_server import PROCESS
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.reviews.corrections import corrections_since
from fine_tune_assets.ledger.serving.deployments import Deployment, live_deployment
from fine_tune_assets.ledger.serving.outcomes import Outcomes, outcomes_since, percentile_at_least
from fine_tune_assets.ledger.serving.rollbacks import find_back, roll_back

WATCH = "rollback watch"
ENGINE_GONE = "its engine ended or hung"


@dataclass(frozen=True)
class Figures:
    """Since users were sent to it."""

    age: timedelta
    is_answering: bool
    """Its process lives, and it has an address."""
    outcomes: Outcomes
    corrections: int


def reason_to_roll_back(figures: Figures, limits: RollbackSettings) -> str | None:
    """None: it stays. Counts only, never text."""
    if figures.age >= timedelta(minutes=limits.window_minutes):
        return None
    if limits.on_death and not figures.is_answering:
        return ENGINE_GONE
    return reason_in_counts(figures.outcomes, figures.corrections, limits)


def reason_in_counts(outcomes: Outcomes, corrections: int, limits: RollbackSettings) -> str | None:
    """Of the limits, that of the engine and of the window aside."""
    found = outcomes.identifiers
    if limits.identifiers and found is not None and found >= limits.identifiers:
        return f"{found} identifiers in answers"  # one is too many: no minimum of requests
    if outcomes.requests < max(limits.minimum_requests, 1):
        return None
    if limits.error_percent and 100 * outcomes.failed >= limits.error_percent * outcomes.requests:
        return f"{outcomes.failed} of {outcomes.requests} requests failed"
    p95 = percentile_at_least(outcomes.durations, 0.95)
    if limits.p95_seconds and p95 is not None and p95 >= limits.p95_seconds:
        return f"one answer in twenty took {p95:g} s or more"
    if limits.corrections_percent and 100 * corrections >= limits.corrections_percent * max(outcomes.answered, 1):
        return f"{corrections} corrections of {outcomes.answered} answers"
    return None


def look_and_roll_back(ledger: Ledger, engines_dir: Path, limits: RollbackSettings, now: datetime) -> str | None:
    """Send users back if there is a reason and something to go back to that is still up; return the reason.

    Raises GateClosedError if that may not serve any more.
    """
    live, window = live_deployment(ledger), timedelta(minutes=limits.window_minutes)
    if live is None or live.live_since is None or not window or now - live.live_since >= window:
        return None
    back = find_back(ledger, by_itself=True)
    if back is None or not back.is_up:
        return None
    reason = reason_to_roll_back(_figures(ledger, live, engines_dir, now), limits)
    if reason is not None:
        roll_back(ledger, WATCH, leaving=live.deployment_id, reason=reason)
    return reason


def _figures(ledger: Ledger, live: Deployment, engines_dir: Path, now: datetime) -> Figures:
    assert live.live_since is not None
    identity = read_identity(engines_dir / live.deployment_id / PROCESS)
    return Figures(
        age=now - live.live_since,
        is_answering=live.engine_url is not None and identity is not None and is_alive(identity),
        outcomes=outcomes_since(ledger, live.deployment_id, live.live_since),
        corrections=corrections_since(ledger, live.release_id, live.live_since),
    )

"""Decides whether a canary release passes, from counts of its requests.

It uses the limits of the automatic rollback: a release that would be rolled back does not go live.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from fine_tune_assets.core.people import person_key
from fine_tune_assets.core.permissions import Action, scope_of
from fine_tune_assets.core.settings import RollbackSettings, Settings
from fine_tune_assets.ledger.audit.request_log import count_answers_by_caller
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.people.api_keys import ApiKey, list_keys
from fine_tune_assets.ledger.reviews.correction_records import count_corrections_since
from fine_tune_assets.ledger.serving.canary_records import (
    fail_canary,
    find_closed_gate,
    find_open_canary,
    pass_canary,
    start_canary,
)
from fine_tune_assets.ledger.serving.canary_rows import CanaryPlan, CanaryRelease, find_canary
from fine_tune_assets.ledger.serving.request_outcomes import RequestOutcomes
from fine_tune_assets.serving.rollback_rules import find_exceeded_limit, sum_outcomes_at_fault


@dataclass(frozen=True)
class CanaryMetrics:
    """Counts since the canary release started."""

    outcomes: RequestOutcomes
    corrections: int
    answered_by_owner: tuple[int, ...] = ()
    """Complete answers of each key's owner; measured only at the end."""
    required_owners: int = 1

    def count_requests(self, minimum: int) -> int:
        """Requests that count towards `minimum`. Each owner counts for its equal part of it, so that no key reaches it alone."""
        if self.required_owners == 1:
            return self.outcomes.requests
        most = -(-minimum // self.required_owners)
        return self.outcomes.failed + sum(min(count, most) for count in self.answered_by_owner)


@dataclass(frozen=True)
class CanaryDecision:
    outcome: Literal["passed", "failed"]
    reason: str


def build_canary_plan(settings: Settings) -> CanaryPlan | None:
    """None if the settings disable canary releases."""
    if not settings.canary.percent:
        return None
    return CanaryPlan(
        settings.canary.percent,
        60 * settings.canary.minutes,
        settings.canary.minimum_requests,
        60 * settings.canary.maximum_minutes,
    )


def decide_canary(
    canary: CanaryRelease, metrics: CanaryMetrics, limits: RollbackSettings, now: datetime
) -> CanaryDecision | None:
    """None while the canary release continues. The reason contains counts only.

    Until the end, each limit applies from the rollback's minimum number of requests; at the end it applies to any number. If the
    plan's minimum is not reached at the end, the canary release continues up to its deadline and then fails: too few requests
    prove nothing.
    """
    if canary.ends_at is None or canary.deadline is None:
        return None
    minimum = canary.plan.minimum_requests
    counted = metrics.count_requests(minimum)
    is_last = now >= canary.ends_at and min(counted, metrics.outcomes.requests) >= minimum
    applied = limits.model_copy(update={"minimum_requests": 1}) if is_last else limits
    reason = find_exceeded_limit(metrics.outcomes, metrics.corrections, applied)
    if reason is not None:
        return CanaryDecision("failed", reason)
    if is_last:
        return CanaryDecision("passed", describe_counts(metrics))
    if now >= canary.deadline:
        reason = f"only {min(counted, metrics.outcomes.requests)} of {minimum} requests"
        if counted < metrics.outcomes.requests:
            reason += f" by {metrics.required_owners} owners of keys"
        return CanaryDecision("failed", f"{reason} in {canary.plan.maximum_seconds / 60:g} minutes")
    return None


def advance_canary(ledger: Ledger, settings: Settings, now: datetime) -> str | None:
    """Start the pending canary release when its deployment is ready, and end it when decided. Returns a line for the log."""
    found = find_open_canary(ledger)
    if found is None:
        return None
    canary, deployment = found
    if deployment.state != "ready" or deployment.engine_url is None:
        return None
    if canary.started_at is None:
        start_canary(ledger, deployment.deployment_id, now)
        return f"canary release of deployment {deployment.deployment_id} started"
    closed = find_closed_gate(ledger, deployment.release_id)
    metrics = measure_canary(ledger, canary, deployment.release_id)
    if canary.ends_at is not None and now >= canary.ends_at:
        metrics = _add_owners(ledger, settings, canary.started_at, deployment.release_id, metrics, now)
    decision = (
        decide_canary(canary, metrics, settings.rollback, now) if closed is None else CanaryDecision("failed", closed)
    )
    if decision is None:
        return None
    end = pass_canary if decision.outcome == "passed" else fail_canary
    end(ledger, deployment.deployment_id, decision.reason)
    return f"canary release of deployment {deployment.deployment_id} {decision.outcome}: {decision.reason}"


def measure_canary(ledger: Ledger, canary: CanaryRelease, release_id: str) -> CanaryMetrics:
    if canary.started_at is None:
        return CanaryMetrics(RequestOutcomes(), 0)
    return CanaryMetrics(
        sum_outcomes_at_fault(ledger, canary.deployment_id, canary.started_at),
        count_corrections_since(ledger, release_id, canary.started_at),
    )


def _add_owners(
    ledger: Ledger, settings: Settings, started_at: datetime, release_id: str, metrics: CanaryMetrics, now: datetime
) -> CanaryMetrics:
    keys = list_keys(ledger)
    required = count_required_owners(keys, settings, now)
    if required == 1:
        return metrics
    owners, answered = {f"key:{key.key_id}": _owner_of(key) for key in keys}, Counter[str]()
    for caller, count in count_answers_by_caller(ledger, release_id, started_at).items():
        answered[owners.get(caller, caller)] += count
    return replace(metrics, answered_by_owner=tuple(answered.values()), required_owners=required)


def count_required_owners(keys: Sequence[ApiKey], settings: Settings, now: datetime) -> int:
    """`canary.minimum_keys`, or the number of owners of valid keys if there are fewer. With tokens of a provider there may be any
    number."""
    if settings.gateway.oidc_issuer:
        return settings.canary.minimum_keys
    can_ask = scope_of(Action.ASK)
    valid = [key for key in keys if key.revoked_at is None and (key.expires_at is None or now < key.expires_at)]
    owners = {_owner_of(key) for key in valid if can_ask in key.scopes}
    return max(1, min(settings.canary.minimum_keys, len(owners)))


def _owner_of(key: ApiKey) -> str:
    return f"key:{key.key_id}" if key.owner is None else person_key(key.owner)


def describe_counts(metrics: CanaryMetrics) -> str:
    return f"{metrics.outcomes.requests} user requests, {metrics.outcomes.failed} failed"


def describe_canary(ledger: Ledger, deployment_id: str, release_id: str) -> str | None:
    """The state of a deployment's canary release in words; None if it has none."""
    canary = find_canary(ledger, deployment_id)
    if canary is None:
        return None
    if canary.outcome is not None:
        return f"{canary.outcome}: {canary.reason}"
    if canary.ends_at is None:
        return "starts when the deployment is ready"
    counts = describe_counts(measure_canary(ledger, canary, release_id))
    plan = canary.plan
    return f"{plan.traffic_percent} % of callers until {canary.ends_at:%H:%M} UTC and {plan.minimum_requests} requests: {counts}"

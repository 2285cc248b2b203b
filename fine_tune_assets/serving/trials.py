"""Whether a release on trial may go live: a pure decision on counts, and the look of the supervisor that feeds it.

Owns what is asked of a trial, its judgement, and how it is told. The limits are those of rolling back by itself: what users would
be taken back from, they are not sent to.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from fine_tune_assets.core.settings import RollbackSettings, Settings
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.reviews.corrections import corrections_since
from fine_tune_assets.ledger.serving.outcomes import Outcomes, outcomes_since
from fine_tune_assets.ledger.serving.trial_rows import Trial, TrialPlan, find_trial
from fine_tune_assets.ledger.serving.trials import begin_trial, closed_gate_of, fail_trial, open_trial, pass_trial
from fine_tune_assets.serving.rollback_rules import reason_in_counts


@dataclass(frozen=True)
class TrialFigures:
    """Since the trial began."""

    users: Outcomes
    corrections: int


@dataclass(frozen=True)
class Judgement:
    outcome: Literal["passed", "failed"]
    reason: str


def trial_plan(settings: Settings) -> TrialPlan | None:
    """None: a release goes live without a trial, as it was set."""
    if not settings.trial.percent:
        return None
    return TrialPlan(
        settings.trial.percent,
        60 * settings.trial.minutes,
        settings.trial.minimum_requests,
        60 * settings.trial.maximum_minutes,
    )


def judge_trial(trial: Trial, figures: TrialFigures, limits: RollbackSettings, now: datetime) -> Judgement | None:
    """None: it goes on. Counts only, never text.

    While it goes on each limit counts from the requests on from which it would roll back; at the end it counts for however few
    there are. What is too few requests at the end is waited for, up to the plan's maximum: a gate without evidence stays closed.
    """
    if trial.ends_at is None or trial.given_up_at is None:
        return None
    wanted = trial.plan.minimum_requests
    is_last = now >= trial.ends_at and figures.users.requests >= wanted
    counted = limits.model_copy(update={"minimum_requests": 1}) if is_last else limits
    reason = reason_in_counts(figures.users, figures.corrections, counted)
    if reason is not None:
        return Judgement("failed", reason)
    if is_last:
        return Judgement("passed", counts_in_words(figures))
    if now >= trial.given_up_at:
        reason = f"only {figures.users.requests} of {wanted} requests in {trial.plan.maximum_seconds / 60:g} minutes"
        return Judgement("failed", reason)
    return None


def look_at_trial(ledger: Ledger, limits: RollbackSettings, now: datetime) -> str | None:
    """Begin the trial that is asked for once its deployment is ready, and end it when it is decided; what was done."""
    found = open_trial(ledger)
    if found is None:
        return None
    trial, deployment = found
    if deployment.state != "ready" or deployment.engine_url is None:
        return None
    if trial.begun_at is None:
        begin_trial(ledger, deployment.deployment_id, now)
        return f"trial of deployment {deployment.deployment_id} begun"
    closed = closed_gate_of(ledger, deployment.release_id)
    figures = trial_figures(ledger, trial, deployment.release_id)
    judged = judge_trial(trial, figures, limits, now) if closed is None else Judgement("failed", closed)
    if judged is None:
        return None
    end = pass_trial if judged.outcome == "passed" else fail_trial
    end(ledger, deployment.deployment_id, judged.reason)
    return f"trial of deployment {deployment.deployment_id} {judged.outcome}: {judged.reason}"


def trial_figures(ledger: Ledger, trial: Trial, release_id: str) -> TrialFigures:
    """Nothing was counted of one that has not begun."""
    if trial.begun_at is None:
        return TrialFigures(Outcomes(), 0)
    return TrialFigures(
        outcomes_since(ledger, trial.deployment_id, trial.begun_at),
        corrections_since(ledger, release_id, trial.begun_at),
    )


def counts_in_words(figures: TrialFigures) -> str:
    return f"{figures.users.requests} requests of users, {figures.users.failed} failed"


def trial_words(ledger: Ledger, deployment_id: str, release_id: str) -> str | None:
    """What is to be told of a deployment's trial; None where there was none."""
    trial = find_trial(ledger, deployment_id)
    if trial is None:
        return None
    if trial.outcome is not None:
        return f"{trial.outcome}: {trial.reason}"
    if trial.ends_at is None:
        return "begins when it is ready"
    counts = counts_in_words(trial_figures(ledger, trial, release_id))
    plan = trial.plan
    return f"{plan.percent} % of callers until {trial.ends_at:%H:%M} UTC and {plan.minimum_requests} requests: {counts}"

"""Summarizes the production model, the candidate in flight and the newest verdict, from the ledger.

The records contain no report text. The pages decide which role sees which part.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pydantic import ValidationError

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.shared_records import CANDIDATE_KEY
from fine_tune_assets.core.shipped_release import find_shipped_release
from fine_tune_assets.judging.verdicts.evidence import read_evidence
from fine_tune_assets.judging.verdicts.verdict_metrics import Metric
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.serving.deployments import PENDING, Deployment, list_current_deployments
from fine_tune_assets.ledger.serving.imported_releases import find_import
from fine_tune_assets.ledger.serving.release_records import find_release
from fine_tune_assets.ledger.serving.verdict_records import VerdictRecord, find_verdict, list_verdict_summaries
from fine_tune_assets.ledger.serving.verdicts import is_intact, require_promotion

Origin = Literal["shipped", "imported", "local"]


@dataclass(frozen=True)
class VerdictSummary:
    verdict_id: str
    decision: str
    recorded_at: datetime
    reasons: tuple[str, ...]
    signers: tuple[str, ...]
    is_intact: bool
    """Whether the verdict is unchanged since it was recorded."""
    target_metric: Metric | None
    """The gain on the recipe's task, with its interval."""

    @property
    def is_deployable(self) -> bool:
        return self.decision == "promote" or (self.decision == "hold" and bool(self.signers))


@dataclass(frozen=True)
class ProductionModel:
    release_id: str
    adapter_id: str | None
    """None if the ledger lacks the release."""
    origin: Origin
    live_since: datetime | None
    is_engine_running: bool
    """False while the engine starts."""
    verdict: VerdictSummary | None


@dataclass(frozen=True)
class CandidateSummary:
    """A release that is being deployed."""

    release_id: str
    origin: Origin
    state: str


@dataclass(frozen=True)
class ModelSummary:
    production: ProductionModel | None
    candidate: CandidateSummary | None
    newest_verdict: VerdictSummary | None

    @property
    def blocking_verdict(self) -> VerdictSummary | None:
        """The newest verdict, if it blocks a release."""
        newest = self.newest_verdict
        return None if newest is None or newest.is_deployable else newest


def read_model_summary(ledger: Ledger) -> ModelSummary:
    current = list_current_deployments(ledger)
    live = next((deployment for deployment in current if deployment.state == "live"), None)
    pending = next((deployment for deployment in current if deployment.state in PENDING), None)
    production = None if live is None else _summarize_production(ledger, live)
    lines = list_verdict_summaries(ledger, before=None, limit=1)
    record = find_verdict(ledger, lines[0].verdict_id) if lines else None
    return ModelSummary(
        production,
        None
        if pending is None
        else CandidateSummary(pending.release_id, find_origin(ledger, pending.release_id), pending.state),
        None if record is None else _summarize_record(record),
    )


def _summarize_production(ledger: Ledger, live: Deployment) -> ProductionModel:
    release = find_release(ledger, live.release_id)
    record = None if release is None else find_verdict(ledger, release.verdict_id)
    return ProductionModel(
        live.release_id,
        None if release is None else release.adapter_id,
        find_origin(ledger, live.release_id),
        live.live_since,
        live.engine_url is not None,
        _summarize_import(ledger, live.release_id) if record is None else _summarize_record(record),
    )


def find_origin(ledger: Ledger, release_id: str) -> Origin:
    """Whether a release was shipped with the repository, imported, or built here.

    A machine that rebuilds the shipped release with the demo recipe counts it as local.
    """
    if find_import(ledger, release_id) is None:
        return "local"
    shipped = find_shipped_release()
    return "shipped" if shipped is not None and shipped.release_id == release_id else "imported"


def _summarize_record(record: VerdictRecord) -> VerdictSummary:
    signers = tuple(signature.approver for signature in record.signatures if signature.is_valid)
    return VerdictSummary(
        record.verdict.verdict_id,
        record.verdict.decision,
        record.recorded_at,
        record.verdict.reasons,
        signers,
        record.is_intact,
        _read_target_metric(record.verdict.evidence),
    )


def _summarize_import(ledger: Ledger, release_id: str) -> VerdictSummary | None:
    """Summary of the verdict that an imported release contains. The verdict's id is the hash of its content."""
    found = find_import(ledger, release_id)
    if found is None:
        return None
    verdict = found.verdict
    return VerdictSummary(
        verdict.verdict_id,
        verdict.decision,
        found.imported_at,
        verdict.reasons,
        found.signers,
        is_intact(verdict),
        _read_target_metric(verdict.evidence),
    )


def _read_target_metric(evidence: str) -> Metric | None:
    try:
        return read_evidence(evidence).target
    except ValidationError:  # written by another version
        return None


def explain_block(verdict: VerdictSummary, ledger: Ledger) -> str:
    """The gate's message: why the verdict blocks the release, and what to do."""
    record = find_verdict(ledger, verdict.verdict_id)
    assert record is not None
    try:
        require_promotion(ledger, **{name: getattr(record.verdict, name) for name in CANDIDATE_KEY})
    except GateClosedError as error:
        return str(error)
    return ""

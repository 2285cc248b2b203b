"""Decisions, verdicts and releases for tests, with ids that hold; and deployments and trials that are known to be there."""

import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fine_tune_assets.core.records import Decision, Release, Verdict
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.reviews.reviews import add_decision
from fine_tune_assets.ledger.serving.deployments import Deployment, find_deployment, live_deployment
from fine_tune_assets.ledger.serving.releases import record_release
from fine_tune_assets.ledger.serving.switch_log import serving_adapter
from fine_tune_assets.ledger.serving.trial_rows import Trial, find_trial
from fine_tune_assets.ledger.serving.verdicts import record_verdict, verdict_id_of

FINGERPRINTS = {"adapter_id": "adapter-1", "base_fingerprint": "base-1", "instruction_set_fingerprint": "set-1"}


def record_decision(ledger: Ledger, *, reason: str = "", **changes: Any) -> Decision:
    """An approval, or another decision by `changes`, as it was said, past the queue and its rules. Where nothing is approved,
    any signature does for a repair."""
    fields: dict[str, Any] = {
        "example_id": "e-1", "fingerprint": "f-1", "report_id": "b/1", "task": "plan", "decision": "approve",
        "output": None, "reviewer": "reviewer one",
    } | changes  # fmt: skip
    signed = {"approved_fingerprint": "of a repair"} if fields.get("output") is not None else {}
    made = Decision(decision_id=uuid.uuid4().hex, decided_at=datetime.now(UTC), **(signed | fields))
    with ledger.begin() as connection:
        add_decision(connection, made, reason)
    return made


def make_verdict(decision: str, **changes: Any) -> Verdict:
    fields: dict[str, Any] = {
        "decision": decision,
        "line": "a-line",
        **FINGERPRINTS,
        "incumbent": "base-1",
        "reasons": ("Measured in a test.",),
        "evidence": '{"gain": 1.0}',
    } | changes
    return Verdict(verdict_id=verdict_id_of(**fields), **fields)


def make_release(
    verdict: Verdict, release_id: str, folder: str | Path = "releases/none", weights: str = "weights-1"
) -> Release:
    return Release(
        release_id=release_id,
        folder=str(folder),
        line=verdict.line,
        verdict_id=verdict.verdict_id,
        adapter_id=verdict.adapter_id,
        base_fingerprint=verdict.base_fingerprint,
        instruction_set_fingerprint=verdict.instruction_set_fingerprint,
        weights_fingerprint=weights,
        prompt_fingerprint="prompt-1",
    )


def record_promoted(
    ledger: Ledger,
    release_id: str,
    folder: str | Path = "releases/none",
    weights: str = "weights-1",
    **changes: Any,
) -> Release:
    """A release with its verdict against what serves now, both in the ledger; `changes` are of the verdict."""
    incumbent = serving_adapter(ledger) or FINGERPRINTS["base_fingerprint"]
    verdict = make_verdict("promote", **{"adapter_id": f"adapter of {release_id}", "incumbent": incumbent} | changes)
    record_verdict(ledger, verdict)
    release = make_release(verdict, release_id, folder, weights)
    record_release(ledger, release)
    return release


def deployment_of(ledger: Ledger, deployment_id: str) -> Deployment:
    found = find_deployment(ledger, deployment_id)
    assert found is not None
    return found


def live_of(ledger: Ledger) -> Deployment:
    found = live_deployment(ledger)
    assert found is not None
    return found


def trial_of(ledger: Ledger, deployment_id: str) -> Trial:
    found = find_trial(ledger, deployment_id)
    assert found is not None
    return found

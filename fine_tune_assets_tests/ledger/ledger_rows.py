"""Makes decisions, verdicts and releases with valid ids for tests, and looks up deployments and canary releases."""

import uuid
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fine_tune_assets.core.shared_records import Decision, Release, Verdict
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.people.api_keys import NewKey, create_key
from fine_tune_assets.ledger.people.users import create_user, list_users
from fine_tune_assets.ledger.reviews.decision_records import add_decision
from fine_tune_assets.ledger.serving.canary_rows import CanaryRelease, find_canary
from fine_tune_assets.ledger.serving.deployments import Deployment, find_deployment, find_live_deployment
from fine_tune_assets.ledger.serving.release_records import record_release
from fine_tune_assets.ledger.serving.switch_log import find_production_adapter
from fine_tune_assets.ledger.serving.verdicts import compute_verdict_id, record_verdict

FINGERPRINTS = {"adapter_id": "adapter-1", "base_fingerprint": "base-1", "instruction_set_fingerprint": "set-1"}


def record_decision(ledger: Ledger, *, reason: str = "", **changes: Any) -> Decision:
    """Record an approval, or a decision with `changes`, without the queue and its rules.

    If the test does not approve anything, any signature is valid for a repair.
    """
    fields: dict[str, Any] = {
        "example_id": "e-1", "fingerprint": "f-1", "report_id": "b/1", "task": "plan", "decision": "approve",
        "output": None, "reviewer": "reviewer one", "decided_at": datetime.now(UTC),
    } | changes  # fmt: skip
    signed = {"approved_fingerprint": "of a repair"} if fields.get("output") is not None else {}
    made = Decision(decision_id=uuid.uuid4().hex, **(signed | fields))
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
    return Verdict(verdict_id=compute_verdict_id(**fields), **fields)


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
    """A promoted release compared with the production model, recorded with its verdict; `changes` apply to the verdict."""
    incumbent = find_production_adapter(ledger) or FINGERPRINTS["base_fingerprint"]
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
    found = find_live_deployment(ledger)
    assert found is not None
    return found


def trial_of(ledger: Ledger, deployment_id: str) -> CanaryRelease:
    found = find_canary(ledger, deployment_id)
    assert found is not None
    return found


def owned_key(ledger: Ledger, name: str, scopes: Collection[str], **options: Any) -> NewKey:
    """A key of a user with the same name, whose corrections it sends."""
    if name not in [user.name for user in list_users(ledger)]:
        create_user(ledger, name, ["user"], password=None, oidc_identity=None, now=datetime.now(UTC), can_use_link=True)
    return create_key(ledger, name, scopes, owner=name, **options)

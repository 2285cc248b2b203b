"""Stage 4: approvals that lapsed after an instruction set was built.

The gate that refuses such a set, and the check on the production model. `approval/` decides whether an approval is valid.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from functools import lru_cache
from typing import Any

import dagster as dg

from fine_tune_assets.approval.lapsed_approvals import (
    CurrentDecisions,
    LapseReason,
    find_lapsed_approvals,
    read_current_decisions,
)
from fine_tune_assets.core.errors import GateClosedError, materialize_hint
from fine_tune_assets.core.fingerprints import combine, fingerprint_json
from fine_tune_assets.defs.platform.metadata import REASON, warning_result
from fine_tune_assets.defs.platform.production_checks import report_changed_check
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.instructions.stored_sets import StoredInstructionSet
from fine_tune_assets.ledger.reviews.correction_records import corrections_fingerprint
from fine_tune_assets.ledger.reviews.decision_records import decisions_fingerprint
from fine_tune_assets.ledger.serving.deployments import find_live_deployment
from fine_tune_assets.ledger.serving.release_records import find_release
from fine_tune_assets.lineage.training_runs import read_learned_rows
from fine_tune_assets.tables.instruction_rows import ProvenanceRow
from fine_tune_assets.tables.record_classes import iter_records

PRODUCTION_CHECK = "production_model_uses_only_approved_examples"
UNAPPROVED_EXAMPLES = "unapproved_examples"
_MAX_IDS_SHOWN = 5


def current_decisions(installation: Installation) -> CurrentDecisions:
    """The current decisions of the ledger, with the recipe's review rules."""
    with installation.ledger() as ledger:
        return read_current_decisions(ledger, installation.recipe.review)


def is_revoked(stored: StoredInstructionSet, now: CurrentDecisions) -> bool:
    """Whether the approval of an example of the set has lapsed. False for a set without provenance."""
    provenance = stored.provenance
    return provenance is not None and bool(find_lapsed_approvals(iter_records(ProvenanceRow, provenance), now))


def require_still_approved(installation: Installation, stored: StoredInstructionSet) -> None:
    """Raise GateClosedError if the approval of an example of the set has lapsed. Reads the ledger each time."""
    provenance = stored.provenance
    if provenance is None:
        raise GateClosedError(
            f"Instruction set {stored.folder.name} has no record of the decisions that approved its examples: an earlier version "
            "of this program stored it. " + materialize_hint("instruction_sets", "adapters")
        )
    lapsed = find_lapsed_approvals(iter_records(ProvenanceRow, provenance), current_decisions(installation))
    if lapsed:
        ids = ", ".join(sorted(lapsed)[:_MAX_IDS_SHOWN]) + (", …" if len(lapsed) > _MAX_IDS_SHOWN else "")
        raise GateClosedError(
            f"The approval of {len(lapsed)} examples of the instruction set has lapsed ({_count_by_reason(lapsed)}): {ids}. "
            "The set can't be used for training, judging, merging, releases or new deployments. To see the decisions, run "
            "`fine-tune trace example ID`. " + materialize_hint("instruction_sets", "adapters")
        )


def _count_by_reason(lapsed: Mapping[str, LapseReason]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in sorted(Counter(lapsed.values()).items()))


@dg.asset_check(
    asset="served_models",
    name=PRODUCTION_CHECK,
    description="Every example that the production model was trained on is still approved.",
)
def production_model_uses_only_approved_examples(installation: Installation) -> dg.AssetCheckResult:
    metadata = _check_metadata(installation)
    return warning_result(REASON not in metadata, **metadata)


def report_production_approvals(
    instance: dg.DagsterInstance, installation: Installation
) -> list[dg.AssetCheckEvaluation]:
    """The check's result if a decision changed it: a revocation does not trigger `served_models`."""
    metadata = _check_metadata(installation)
    if UNAPPROVED_EXAMPLES not in metadata:
        return []
    return report_changed_check(instance, PRODUCTION_CHECK, UNAPPROVED_EXAMPLES, metadata)


def _check_metadata(installation: Installation) -> dict[str, Any]:
    """Metadata of the check: empty without a production model, and without a count if its examples are unknown."""
    settings = installation.settings
    with installation.ledger() as ledger:
        live = find_live_deployment(ledger)
        if live is None:
            return {}
        decided, authored = decisions_fingerprint(ledger), corrections_fingerprint(ledger)
    rules = fingerprint_json(asdict(installation.recipe.review))
    location = [str(settings.data_dir), settings.database_url]
    lapsed = _unapproved_in_release(live.release_id, combine([*location, decided, rules, authored]))
    if lapsed is None:
        unknown = (
            f"The instruction set of release {live.release_id} was removed, or has no record of the decisions that approved its "
            "examples."
        )
        return {"release": live.release_id, REASON: unknown}
    counts = {f"{reason}_since": count for reason, count in sorted(Counter(lapsed.values()).items())}
    metadata: dict[str, Any] = {UNAPPROVED_EXAMPLES: len(lapsed), "release": live.release_id, **counts}
    if lapsed:
        metadata[REASON] = (
            f"Release {live.release_id} was trained on {len(lapsed)} examples whose approval has lapsed. "
            + materialize_hint("instruction_sets", "adapters")
        )
    return metadata


@lru_cache(maxsize=1)
def _unapproved_in_release(release_id: str, _state: str) -> dict[str, LapseReason] | None:
    """Cached until a decision is made or revoked, since every sensor tick needs it."""
    installation = Installation()
    with installation.ledger() as ledger:
        release = find_release(ledger, release_id)
        rows = None if release is None else read_learned_rows(installation.layout, ledger, release)
    return None if rows is None else find_lapsed_approvals(rows, current_decisions(installation))

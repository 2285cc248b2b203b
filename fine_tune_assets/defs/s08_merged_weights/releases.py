"""Stage 8: one signed, content-addressed folder with the model, its prompt and the evidence for it.

Belongs here: the gate before a release, recording it, and the rule by which older ones go. Must stay out: what a release is made
of (see release_parts.py), and how its folder is written (see `merging/`).
"""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pyarrow as pa

from fine_tune_assets.core.fingerprints import short
from fine_tune_assets.core.keys import public_key_file
from fine_tune_assets.core.records import Release
from fine_tune_assets.core.releases.release_keys import KEY
from fine_tune_assets.core.releases.release_signing import verify_signed_release
from fine_tune_assets.core.serving_engines import reads_folder
from fine_tune_assets.defs.platform.metadata import OWNERS, checked, definition_metadata, result
from fine_tune_assets.defs.platform.recipe_sections import recipe_section
from fine_tune_assets.defs.platform.resources import Installation, errors_for_people
from fine_tune_assets.defs.s06_adapters.adapters import READ_BY_GATES, behind_training
from fine_tune_assets.defs.s07_judge_scores.promotion_verdicts import required_verdict
from fine_tune_assets.defs.s08_merged_weights.merged_weights import GROUP, require_same_adapter, require_same_base
from fine_tune_assets.defs.s08_merged_weights.release_parts import CERTIFIED, Gathered, Made, bound_by, served_export
from fine_tune_assets.ledger.serving.releases import record_release
from fine_tune_assets.merging.certificates import require_parity
from fine_tune_assets.merging.release_build import build_release
from fine_tune_assets.merging.retention import RetentionRule, named_paths, prune
from fine_tune_assets.tables.merging import BuiltRelease, MergedWeights, QuantizedWeights
from fine_tune_assets.tables.records import only_record, records_of, table_from
from fine_tune_assets.tables.training import Adapter, BaseModel


@dg.asset(
    group_name=GROUP,
    # Another engine serves other weights, another template asks in other words: that is another release.
    deps=[*READ_BY_GATES, *CERTIFIED, recipe_section("engine"), recipe_section("retrieval")],
    automation_condition=behind_training(untriggered=CERTIFIED),
    description="One signed folder with the model, its prompt and the evidence for it, named by its content. What is served.",
    owners=OWNERS["ops"],
    kinds={"gguf"},
    metadata=definition_metadata("releases"),
)
def releases(
    installation: Installation,
    merged_weights: pa.Table,
    quantized_weights: pa.Table,
    adapters: pa.Table,
    base_models: pa.Table,
) -> dg.MaterializeResult[pa.Table]:
    merged, adapter = only_record(MergedWeights, merged_weights), only_record(Adapter, adapters)
    base, exports = only_record(BaseModel, base_models), tuple(records_of(QuantizedWeights, quantized_weights))
    with errors_for_people():
        require_same_adapter(merged, adapter)
        require_parity(merged)
        export = served_export(installation.recipe, exports, merged)
        verdict = required_verdict(installation, adapter)
        require_same_base(base, adapter)
        made = Made(merged, export, adapter, base, verdict, exports)
        release = _build(installation, made)
        with installation.ledger() as ledger:
            record_release(ledger, release)
        gone = _prune(installation, release.release_id, named_paths(one.as_row() for one in (merged, *exports)))
    table = table_from(BuiltRelease, [BuiltRelease.of(asdict(release))])
    return result("releases", table, release.release_id, release=release.release_id, **gone)


def _build(installation: Installation, made: Made) -> Release:
    parts = Gathered(installation, made).parts()
    built = build_release(installation.layout.releases, parts, installation.layout.keys)
    folder = installation.stored_path(str(built.folder))
    return Release(release_id=built.release_id, folder=folder, **bound_by(made, parts.contract.fingerprint))


def _prune(installation: Installation, release_id: str, used: Sequence[str]) -> dict[str, Any]:
    """Here, since a release that is new is what makes older ones old. A folder that can't be removed stops no release."""
    settings = installation.settings
    rule = RetentionRule(settings.release.keep_last, settings.release.keep_days)
    paths = [installation.path(stored) for stored in used]
    try:
        with installation.ledger() as ledger:
            gone = prune(
                ledger, installation.layout, rule, datetime.now(UTC), named=[release_id], used=paths, by="releases"
            )
    except OSError as error:
        return {"older_releases": f"not removed: {type(error).__name__}"}
    return {"removed_releases": ", ".join(gone.releases) or "none", "removed_weights": len(gone.weights)}


@dg.asset_check(
    asset="releases",
    blocking=True,
    additional_ins={
        "quantized_weights": dg.AssetIn("quantized_weights"),
        "merged_weights": dg.AssetIn("merged_weights"),
    },
    description="The release is signed by this installation, and its model is what was measured, byte for byte.",
)
def release_holds_the_measured_weights(
    installation: Installation, releases: pa.Table, quantized_weights: pa.Table, merged_weights: pa.Table
) -> dg.AssetCheckResult:
    release = only_record(BuiltRelease, releases)
    with errors_for_people():
        public_key = public_key_file(installation.layout.keys, KEY)
        verified = verify_signed_release(installation.path(release.folder), release.release_id, public_key)
    measured = set(quantized_weights.column("fingerprint").to_pylist())
    if reads_folder(verified.engine):
        measured = set(merged_weights.column("weights_fingerprint").to_pylist())
    found = verified.model_fingerprint
    return checked(found in measured, model=short(found))

"""Stage 8: builds and records a release behind its gates, and removes old releases (see `release_parts.py` and `merging/`)."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pyarrow as pa

from fine_tune_assets.core.fingerprints import short
from fine_tune_assets.core.keys import public_key_file
from fine_tune_assets.core.releases.release_keys import KEY
from fine_tune_assets.core.releases.release_signing import verify_signed_release
from fine_tune_assets.core.shared_records import Release
from fine_tune_assets.defs.platform.metadata import OWNERS, check_result, definition_metadata, table_result
from fine_tune_assets.defs.platform.recipe_versions import code_version
from fine_tune_assets.defs.platform.resources import Installation, user_facing_errors
from fine_tune_assets.defs.s06_adapters.adapters import after_training
from fine_tune_assets.defs.s07_judge_scores.promotion_verdicts import require_verdict
from fine_tune_assets.defs.s08_merged_weights.merged_weights import (
    GROUP,
    require_own_record,
    require_same_adapter,
    require_same_base,
)
from fine_tune_assets.defs.s08_merged_weights.release_parts import (
    CERTIFICATE_TABLES,
    PartsCollector,
    ReleaseInputs,
    find_served_export,
    release_bindings,
)
from fine_tune_assets.ledger.serving.release_records import record_release
from fine_tune_assets.merging.certificates import require_parity
from fine_tune_assets.merging.release_build import build_release
from fine_tune_assets.merging.retention import RetentionRule, prune, referenced_paths
from fine_tune_assets.tables.merging_rows import BuiltRelease, MergedWeights, QuantizedWeights
from fine_tune_assets.tables.record_classes import iter_records, read_single_record, table_from_records
from fine_tune_assets.tables.training_rows import Adapter, BaseModel


@dg.asset(
    group_name=GROUP,
    # A new engine (other weights) or a new retrieval template (other prompts) needs a new release.
    deps=CERTIFICATE_TABLES,
    code_version=code_version("engine", "retrieval"),
    automation_condition=after_training(ignored=CERTIFICATE_TABLES),
    description="A signed folder with the model, its prompt settings and its evidence, named by its content. Ready to deploy.",
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
    merged, adapter = read_single_record(MergedWeights, merged_weights), read_single_record(Adapter, adapters)
    base, exports = read_single_record(BaseModel, base_models), tuple(iter_records(QuantizedWeights, quantized_weights))
    with user_facing_errors():
        require_same_adapter(merged, adapter)
        require_parity(merged)
        export = find_served_export(installation.recipe, exports, merged)
        for one in (merged, *((export,) if export is not None else ())):
            require_own_record(installation, one)
        verdict = require_verdict(installation, adapter)
        require_same_base(base, adapter)
        inputs = ReleaseInputs(merged, export, adapter, base, verdict, exports)
        release = _build_release(installation, inputs)
        with installation.ledger() as ledger:
            record_release(ledger, release)
        removed = _prune_releases(
            installation, release.release_id, referenced_paths(weights.to_row() for weights in (merged, *exports))
        )
    table = table_from_records(BuiltRelease, [BuiltRelease.from_row(asdict(release))])
    return table_result("releases", table, release.release_id, release=release.release_id, **removed)


def _build_release(installation: Installation, inputs: ReleaseInputs) -> Release:
    parts = PartsCollector(installation, inputs).collect()
    built = build_release(installation.layout.releases, parts, installation.layout.keys)
    folder = installation.stored_path(str(built.folder))
    return Release(release_id=built.release_id, folder=folder, **release_bindings(inputs, parts.contract.fingerprint))


def _prune_releases(installation: Installation, release_id: str, used: Sequence[str]) -> dict[str, Any]:
    """Remove old releases by the retention rule. Returns metadata; a folder that can't be removed does not fail the step."""
    settings = installation.settings
    rule = RetentionRule(settings.release.keep_last, settings.release.keep_days)
    paths = [installation.path(stored) for stored in used]
    try:
        with installation.ledger() as ledger:
            removed = prune(
                ledger,
                installation.layout,
                rule,
                datetime.now(UTC),
                referenced_ids=[release_id],
                used_paths=paths,
                by="releases",
            )
    except OSError as error:
        return {"older_releases": f"not removed: {type(error).__name__}"}
    return {"removed_releases": ", ".join(removed.releases) or "none", "removed_weights": len(removed.weights)}


@dg.asset_check(
    asset="releases",
    blocking=True,
    additional_ins={
        "quantized_weights": dg.AssetIn("quantized_weights"),
        "merged_weights": dg.AssetIn("merged_weights"),
    },
    description="The release is signed by this installation, and its weights are byte for byte those that were measured.",
)
def release_contains_measured_weights(
    installation: Installation, releases: pa.Table, quantized_weights: pa.Table, merged_weights: pa.Table
) -> dg.AssetCheckResult:
    release = read_single_record(BuiltRelease, releases)
    with user_facing_errors():
        public_key = public_key_file(installation.layout.keys, KEY)
        verified = verify_signed_release(installation.path(release.folder), release.release_id, public_key)
    measured = {
        *quantized_weights.column("fingerprint").to_pylist(),
        *merged_weights.column("weights_fingerprint").to_pylist(),
    }
    found = verified.model_fingerprint
    return check_result(found in measured, model=short(found))

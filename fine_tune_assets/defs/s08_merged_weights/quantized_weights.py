"""Stage 8: exports merged weights to smaller formats. `merging/` converts and compares them."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa

from fine_tune_assets.core.errors import materialize_hint
from fine_tune_assets.core.fingerprints import fingerprint_table
from fine_tune_assets.core.processes.worker_requests import ExportRequest
from fine_tune_assets.defs.platform.metadata import (
    OWNERS,
    check_result,
    definition_metadata,
    markdown_table,
    table_result,
    warning_result,
)
from fine_tune_assets.defs.platform.recipe_versions import code_version
from fine_tune_assets.defs.platform.resources import Installation, Worker, user_facing_errors
from fine_tune_assets.defs.s06_adapters.adapters import GPU, after_training
from fine_tune_assets.defs.s07_judge_scores.promotion_verdicts import require_verdict
from fine_tune_assets.defs.s08_merged_weights.merged_weights import (
    GROUP,
    parity_columns,
    parity_metadata,
    require_own_record,
    require_prompt_contract,
    require_same_adapter,
    require_same_base,
    training_set_file,
)
from fine_tune_assets.merging.certificates import require_parity
from fine_tune_assets.merging.signed_records import sign_export
from fine_tune_assets.recipes.export_settings import ParityLimits, find_limits
from fine_tune_assets.tables.merging_rows import MergedWeights, QuantizedWeights
from fine_tune_assets.tables.record_classes import iter_records, read_single_record, table_from_records
from fine_tune_assets.tables.training_rows import Adapter, BaseModel

_COLUMNS = (
    "format",
    "is_passed",
    "mean_kl",
    "top1_agreement",
    "greedy_agreement",
    "loss_increase",
    "size_bytes",
    "tensor_types",
)


@dg.asset(
    group_name=GROUP,
    code_version=code_version("exports"),
    pool=GPU,
    automation_condition=after_training(),
    description="The merged weights exported to smaller formats such as GGUF, each compared with the merged weights.",
    owners=OWNERS["ml"],
    kinds={"gguf"},
    metadata=definition_metadata("quantized_weights"),
)
def quantized_weights(
    context: dg.AssetExecutionContext,
    installation: Installation,
    worker: Worker,
    merged_weights: pa.Table,
    adapters: pa.Table,
    base_models: pa.Table,
) -> dg.MaterializeResult[pa.Table]:
    merged, adapter = read_single_record(MergedWeights, merged_weights), read_single_record(Adapter, adapters)
    base, recipe = read_single_record(BaseModel, base_models), installation.recipe
    limits = {name: find_limits(recipe.gate.export_limits, name) for name in recipe.exports}
    with user_facing_errors():
        require_same_adapter(merged, adapter)
        require_same_base(base, adapter)
        require_verdict(installation, adapter)
        require_parity(merged)
        require_own_record(installation, merged)
        contract = require_prompt_contract(installation, merged.folder, adapter)
        request: ExportRequest = {
            "action": "export",
            "system_prompt": contract.system_prompt,
            "turn_end_id": contract.turn_end_id,
            "merged_folder": str(installation.path(merged.folder)),
            "weights_fingerprint": merged.weights_fingerprint,
            "adapter_folder": str(installation.path(adapter.folder)),
            "adapter_id": adapter.adapter_id,
            "base_folder": str(installation.path(base.folder)),
            "base_fingerprint": base.fingerprint,
            "base_gguf": base.source_fingerprint,
            "weights_dir": str(installation.layout.weights),
            "limits": {name: asdict(limit) for name, limit in limits.items()},
            "instruction_set": training_set_file(installation, adapter),
            "llmcompressor_python": str(installation.settings.llmcompressor_interpreter),
        }
    # Without exports, the worker is not started.
    results = worker.run(context, "merging", request)["exports"] if limits else []
    exports = [_export_row(installation, result, merged, limits[result["format"]]) for result in results]
    table = table_from_records(QuantizedWeights, exports)
    return table_result("quantized_weights", table, fingerprint_table(table), **export_metadata(exports))


def _export_row(
    installation: Installation, result: dict[str, Any], merged: MergedWeights, limits: ParityLimits
) -> QuantizedWeights:
    """`result`: one export from the worker's result."""
    export = QuantizedWeights(
        format=result["format"],
        path=result["file"] and installation.stored_path(result["file"]),
        fingerprint=result["fingerprint"],
        weights_fingerprint=merged.weights_fingerprint,
        size_bytes=result["size_bytes"],
        tensor_types=result["tensor_types"],
        **parity_columns(result["parity"], limits, result["reason"]),
        probes_file=result["probes_file"] and installation.stored_path(result["probes_file"]),
    )
    probes = Path(result["probes_file"]) if result["probes_file"] else None
    with user_facing_errors():
        return sign_export(export, installation.layout.keys, probes)


def export_metadata(exports: Sequence[QuantizedWeights]) -> dict[str, Any]:
    kl = {f"mean_kl_{export.format}": export.mean_kl for export in exports if export.mean_kl is not None}
    shown = markdown_table([{name: getattr(export, name) for name in _COLUMNS} for export in exports])
    return {**kl, "parity": shown}


@dg.asset_check(
    asset="quantized_weights",
    blocking=True,
    description="The answers of the recipe's first export, which is served, match those of the merged weights within limits.",
)
def served_export_matches_merged_weights(
    installation: Installation, quantized_weights: pa.Table
) -> dg.AssetCheckResult:
    recipe = installation.recipe
    if recipe.served_export is None:
        return check_result(True, f"{recipe.engine} serves the merged weights, so no export is needed.")
    exports = iter_records(QuantizedWeights, quantized_weights)
    served = next((export for export in exports if export.format == recipe.served_export), None)
    if served is None:
        return check_result(
            False, f"There is no {recipe.served_export} export. {materialize_hint('quantized_weights')}"
        )
    return check_result(served.is_passed is True, **parity_metadata(served))


@dg.asset_check(
    asset="quantized_weights",
    description="Every export is within its limits. An export that is not is discarded; the others are kept.",
)
def every_export_matches_merged_weights(quantized_weights: pa.Table) -> dg.AssetCheckResult:
    exports = list(iter_records(QuantizedWeights, quantized_weights))
    failed = [export for export in exports if export.is_passed is not True]
    reason = " ".join(f"{export.format}: {export.failure_reason}" for export in failed)
    return warning_result(not failed, reason, failed=len(failed), exports=len(exports))

"""Stage 8: merged weights in smaller formats.

Belongs here: exporting behind the verdict in the ledger, and what is shown of each hop. Must stay out: how weights are
converted and compared (see `merging/`).
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import dagster as dg
import pyarrow as pa

from fine_tune_assets.core.fingerprints import fingerprint_table
from fine_tune_assets.core.serving_engines import reads_folder
from fine_tune_assets.defs.platform.metadata import OWNERS, checked, definition_metadata, markdown_table, result, warned
from fine_tune_assets.defs.platform.recipe_sections import recipe_section
from fine_tune_assets.defs.platform.resources import Installation, Worker, errors_for_people
from fine_tune_assets.defs.s06_adapters.adapters import GPU, READ_BY_GATES, behind_training
from fine_tune_assets.defs.s07_judge_scores.promotion_verdicts import required_verdict
from fine_tune_assets.defs.s08_merged_weights.merged_weights import (
    GROUP,
    hop_columns,
    hop_metadata,
    instruction_set_file,
    kept_contract,
    require_same_adapter,
    require_same_base,
)
from fine_tune_assets.merging.certificates import require_parity
from fine_tune_assets.recipes.exports import ParityLimits, limits_of
from fine_tune_assets.tables.merging import MergedWeights, QuantizedWeights
from fine_tune_assets.tables.records import only_record, records_of, table_from
from fine_tune_assets.tables.training import Adapter, BaseModel

_SHOWN = ("format", "is_passed", "mean_kl", "top1_agreement", "same_greedy", "loss_increase", "bytes", "tensor_types")


@dg.asset(
    group_name=GROUP,
    deps=[*READ_BY_GATES, recipe_section("exports")],
    pool=GPU,
    automation_condition=behind_training(),
    description="The merged model in smaller formats (GGUF), each measured against the weights it was made from.",
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
    merged, adapter = only_record(MergedWeights, merged_weights), only_record(Adapter, adapters)
    base, recipe = only_record(BaseModel, base_models), installation.recipe
    limits = {name: limits_of(recipe.gate.export_limits, name) for name in recipe.exports}
    with errors_for_people():
        require_same_adapter(merged, adapter)
        require_same_base(base, adapter)
        required_verdict(installation, adapter)
        require_parity(merged)
        contract = kept_contract(installation, merged.folder, adapter)
        request = {
            "action": "export",
            "system_prompt": contract.system_prompt,
            "turn_end_id": contract.turn_end_id,
            "merged_folder": str(installation.path(merged.folder)),
            "weights_fingerprint": merged.weights_fingerprint,
            "adapter_folder": str(installation.path(adapter.folder)),
            "adapter_id": adapter.adapter_id,
            "base_gguf": base.source_fingerprint,
            "weights_dir": str(installation.layout.weights),
            "limits": {name: asdict(limit) for name, limit in limits.items()},
            "instruction_set": instruction_set_file(installation, adapter),
            "llmcompressor_python": str(installation.settings.llmcompressor_interpreter),
        }
    # To export nothing, no model is loaded.
    told = worker.run(context, "merging", request)["exports"] if limits else []
    exports = [_export(installation, one, merged, limits[one["format"]]) for one in told]
    table = table_from(QuantizedWeights, exports)
    return result("quantized_weights", table, fingerprint_table(table), **exports_metadata(exports))


def _export(
    installation: Installation, told: dict[str, Any], merged: MergedWeights, limits: ParityLimits
) -> QuantizedWeights:
    """`told`: by the worker."""
    return QuantizedWeights(
        format=told["format"],
        file=told["file"] and installation.stored_path(told["file"]),
        fingerprint=told["fingerprint"],
        weights_fingerprint=merged.weights_fingerprint,
        bytes=told["size_bytes"],
        tensor_types=told["tensor_types"],
        **hop_columns(told["parity"], limits, told["why"]),
        probes_file=told["probes_file"] and installation.stored_path(told["probes_file"]),
    )


def exports_metadata(exports: Sequence[QuantizedWeights]) -> dict[str, Any]:
    kl = {f"mean_kl_{export.format}": export.mean_kl for export in exports if export.mean_kl is not None}
    shown = markdown_table([{name: getattr(export, name) for name in _SHOWN} for export in exports])
    return {**kl, "parity": shown}


@dg.asset_check(
    asset="quantized_weights",
    blocking=True,
    description="What llama.cpp serves, the recipe's first export, answers as the merged weights do, within its format's limits.",
)
def served_export_answers_as_the_merged_weights(
    installation: Installation, quantized_weights: pa.Table
) -> dg.AssetCheckResult:
    recipe = installation.recipe
    if reads_folder(recipe.engine):
        return checked(True, f"{recipe.engine} serves the merged weights, no export.")
    exports = records_of(QuantizedWeights, quantized_weights)
    served = next((export for export in exports if export.format == recipe.exports[0]), None)
    if served is None:
        return checked(False, f"There is no {recipe.exports[0]} export.")
    return checked(served.is_passed is True, **hop_metadata(served))


@dg.asset_check(
    asset="quantized_weights",
    description="No export failed its limits. One that did was not kept; the others go on without it.",
)
def every_export_answers_as_the_merged_weights(quantized_weights: pa.Table) -> dg.AssetCheckResult:
    exports = list(records_of(QuantizedWeights, quantized_weights))
    failed = [export for export in exports if export.is_passed is not True]
    why = " ".join(f"{export.format}: {export.why}" for export in failed)
    return warned(not failed, why, failed=len(failed), exports=len(exports))

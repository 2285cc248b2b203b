"""Stage 8: merged weights in smaller formats.

Belongs here: exporting behind the verdict in the ledger, and what is shown of each hop. Must stay out: how weights are
converted and compared (see `merging/`).
"""

from dataclasses import asdict
from typing import Any

import dagster as dg
import pyarrow as pa

from fine_tune_assets.core.fingerprints import fingerprint_table
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
from fine_tune_assets.tables.merging import QuantizedWeights
from fine_tune_assets.tables.records import table_of

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
    merged, adapter, base = (table.to_pylist()[0] for table in (merged_weights, adapters, base_models))
    recipe = installation.recipe
    limits = {name: limits_of(recipe.gate.export_limits, name) for name in recipe.exports}
    with errors_for_people():
        require_same_adapter(merged, adapter)
        require_same_base(base, adapter)
        required_verdict(installation, adapter)
        require_parity(merged)
        contract = kept_contract(installation, merged["folder"], adapter)
        request = {
            "action": "export",
            "system_prompt": contract.system_prompt,
            "turn_end_id": contract.turn_end_id,
            "merged_folder": str(installation.path(merged["folder"])),
            "weights_fingerprint": merged["weights_fingerprint"],
            "adapter_folder": str(installation.path(adapter["folder"])),
            "adapter_id": adapter["adapter_id"],
            "base_gguf": base["source_fingerprint"],
            "weights_dir": str(installation.layout.weights),
            "limits": {name: asdict(limit) for name, limit in limits.items()},
            "instruction_set": instruction_set_file(installation, adapter),
            "llmcompressor_python": str(installation.settings.llmcompressor_interpreter),
        }
    # To export nothing, no model is loaded.
    exports = worker.run(context, "merging", request)["exports"] if limits else []
    rows = [_row(installation, export, merged, limits[export["format"]]) for export in exports]
    table = table_of(rows, QuantizedWeights.SCHEMA)
    return result("quantized_weights", table, fingerprint_table(table), **exports_metadata(rows))


def _row(
    installation: Installation, export: dict[str, Any], merged: dict[str, Any], limits: ParityLimits
) -> dict[str, Any]:
    stored = {name: export[name] and installation.stored_path(export[name]) for name in ("file", "probes_file")}
    return {
        "format": export["format"],
        "fingerprint": export["fingerprint"],
        "weights_fingerprint": merged["weights_fingerprint"],
        "bytes": export["size_bytes"],
        "tensor_types": export["tensor_types"],
        **hop_columns(export["parity"], limits, export["why"]),
        **stored,
    }


def exports_metadata(rows: list[dict[str, Any]]) -> dict[str, Any]:
    kl = {f"mean_kl_{row['format']}": row["mean_kl"] for row in rows if row["mean_kl"] is not None}
    shown = markdown_table([{name: row[name] for name in _SHOWN} for row in rows])
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
    if recipe.engine != "llama_cpp":
        return checked(True, f"{recipe.engine} serves the merged weights, no export.")
    served = [row for row in quantized_weights.to_pylist() if row["format"] == recipe.exports[0]]
    if not served:
        return checked(False, f"There is no {recipe.exports[0]} export.")
    return checked(served[0]["is_passed"] is True, **hop_metadata(served[0]))


@dg.asset_check(
    asset="quantized_weights",
    description="No export failed its limits. One that did was not kept; the others go on without it.",
)
def every_export_answers_as_the_merged_weights(quantized_weights: pa.Table) -> dg.AssetCheckResult:
    rows = quantized_weights.to_pylist()
    failed = [row for row in rows if row["is_passed"] is not True]
    why = " ".join(f"{row['format']}: {row['why']}" for row in failed)
    return warned(not failed, why, failed=len(failed), exports=len(rows))

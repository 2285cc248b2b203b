"""Stage 8: merges a promoted adapter into its base model. `merging/` does the merge and the comparison."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa

from fine_tune_assets.core.errors import GateClosedError, materialize_hint
from fine_tune_assets.core.fingerprints import fingerprint_table
from fine_tune_assets.core.processes.worker_requests import MergeRequest
from fine_tune_assets.core.prompts.prompt_contract import PromptContract, read_prompt_contract
from fine_tune_assets.defs.platform.metadata import OWNERS, REASON, check_result, definition_metadata, table_result
from fine_tune_assets.defs.platform.recipe_versions import code_version
from fine_tune_assets.defs.platform.resources import Installation, Worker, user_facing_errors
from fine_tune_assets.defs.s06_adapters.adapters import GPU, after_training, read_training_set
from fine_tune_assets.defs.s07_judge_scores.promotion_verdicts import require_verdict
from fine_tune_assets.merging.signed_records import require_signed_record, sign_merged
from fine_tune_assets.recipes.export_settings import ParityLimits
from fine_tune_assets.tables.merging_rows import MergedWeights, QuantizedWeights
from fine_tune_assets.tables.record_classes import read_single_record, table_from_records
from fine_tune_assets.tables.training_rows import Adapter, BaseModel

GROUP = "s08_merged_weights"
_METRICS = {
    "mean_kl": "mean_kl",
    "top1_agreement": "top1_agreement",
    "parity_tokens": "tokens",
    "greedy_agreement": "greedy_agreement",
    "parity_answers": "answers",
    "loss_increase": "loss_increase",
}
"""Column → metric of the worker's parity measurement."""


def training_set_file(installation: Installation, adapter: Adapter) -> str:
    return str(read_training_set(installation, adapter.instruction_set_fingerprint).folder / "instruction_set.parquet")


def require_prompt_contract(installation: Installation, folder: str, adapter: Adapter) -> PromptContract:
    """The prompt contract of a model folder. Raises GateClosedError if the adapter was trained with another one."""
    facts = read_training_set(installation, adapter.instruction_set_fingerprint).manifest["facts"]
    contract = read_prompt_contract(installation.path(folder), facts["system_prompt"])
    if contract.fingerprint != adapter.prompt_fingerprint:
        raise GateClosedError(
            f"Adapter {adapter.adapter_id} was trained with another prompt contract (chat template, special tokens, stop ids, "
            f"system prompt) than that of {installation.path(folder).name}. Restore its tokenizer files, or train again. "
            + materialize_hint("adapters")
        )
    return contract


@dg.asset(
    group_name=GROUP,
    deps=["promotion_verdicts"],
    code_version=code_version("weights"),
    pool=GPU,
    automation_condition=after_training(),
    description="The promoted adapter merged into its base model (Safetensors), with proof that its answers match the adapter's.",
    owners=OWNERS["ml"],
    kinds={"huggingface"},
    metadata=definition_metadata("merged_weights"),
)
def merged_weights(
    context: dg.AssetExecutionContext,
    installation: Installation,
    worker: Worker,
    adapters: pa.Table,
    base_models: pa.Table,
) -> dg.MaterializeResult[pa.Table]:
    adapter, base = read_single_record(Adapter, adapters), read_single_record(BaseModel, base_models)
    recipe = installation.recipe
    with user_facing_errors():
        verdict = require_verdict(installation, adapter)
        require_same_base(base, adapter)
        contract = require_prompt_contract(installation, base.folder, adapter)
        request: MergeRequest = {
            "action": "merge",
            "base_folder": str(installation.path(base.folder)),
            "base_fingerprint": base.fingerprint,
            "adapter_folder": str(installation.path(adapter.folder)),
            "adapter_id": adapter.adapter_id,
            "weights_dir": str(installation.layout.weights),
            "is_quantized": adapter.method == "qlora",
            "dtype": recipe.merged_dtype,
            "instruction_set": training_set_file(installation, adapter),
            "system_prompt": contract.system_prompt,
            "limits": asdict(recipe.gate.merge_limits),
        }
    result = worker.run(context, "merging", request)
    merged = MergedWeights(
        weights_fingerprint=result["weights_fingerprint"],
        folder=installation.stored_path(result["folder"]),
        adapter_id=adapter.adapter_id,
        base_fingerprint=base.fingerprint,
        verdict_id=verdict.verdict_id,
        dtype=result["dtype"],
        size_bytes=result["size_bytes"],
        **parity_columns(result["parity"], recipe.gate.merge_limits, reason=""),
        merge_method=result["method"],
        probes_fingerprint=result["probes_fingerprint"],
        probes_file=installation.stored_path(result["probes_file"]),
    )
    with user_facing_errors():
        merged = sign_merged(merged, installation.layout.keys, Path(result["probes_file"]))
    table = table_from_records(MergedWeights, [merged])
    return table_result("merged_weights", table, fingerprint_table(table), **parity_metadata(merged))


def parity_columns(parity: dict[str, Any] | None, limits: ParityLimits, reason: str) -> dict[str, Any]:
    """The parity columns: metrics, limits and result. `parity` is None if the weights could not be measured."""
    metrics = {column: None if parity is None else parity[name] for column, name in _METRICS.items()}
    return {**metrics, **asdict(limits), "is_passed": parity is not None and not reason, "failure_reason": reason}


def parity_metadata(weights: MergedWeights | QuantizedWeights) -> dict[str, Any]:
    """The known parity metrics, and the reason of a failure."""
    metrics = {name: value for name in _METRICS if (value := getattr(weights, name)) is not None}
    return {**metrics, REASON: weights.failure_reason or "within all limits"}


@dg.asset_check(
    asset="merged_weights",
    blocking=True,
    description="Merged weights and adapter give the same answers within the recipe's limits.",
)
def merged_weights_match_adapter(merged_weights: pa.Table) -> dg.AssetCheckResult:
    merged = read_single_record(MergedWeights, merged_weights)
    return check_result(merged.is_passed is True, **parity_metadata(merged))


def require_own_record(installation: Installation, weights: MergedWeights | QuantizedWeights) -> None:
    """Raises GateClosedError unless this installation made the row, and its probes, as they are."""
    probes = None if not weights.probes_file else installation.path(weights.probes_file)
    require_signed_record(weights, installation.layout.keys, probes)


def require_same_adapter(merged: MergedWeights, adapter: Adapter) -> None:
    if merged.adapter_id != adapter.adapter_id:
        raise GateClosedError(
            f"The merged weights were made from another adapter than {adapter.adapter_id}. {materialize_hint('merged_weights')}"
        )


def require_same_base(base: BaseModel, adapter: Adapter) -> None:
    if base.fingerprint != adapter.base_fingerprint:
        raise GateClosedError(
            f"Adapter {adapter.adapter_id} was trained on another base model. {materialize_hint('adapters')}"
        )

"""Stage 8: from a promoted adapter to merged weights.

Belongs here: merging behind the verdict in the ledger, and what exports and releases ask of it. Must stay out: how weights are
merged (see `merging/`).
"""

from dataclasses import asdict
from typing import Any

import dagster as dg
import pyarrow as pa

from fine_tune_assets.core.errors import GateClosedError, materialize_hint
from fine_tune_assets.core.fingerprints import fingerprint_table
from fine_tune_assets.core.prompts.prompt_contract import PromptContract, read_prompt_contract
from fine_tune_assets.defs.platform.metadata import OWNERS, WHY, checked, definition_metadata, result
from fine_tune_assets.defs.platform.recipe_sections import recipe_section
from fine_tune_assets.defs.platform.resources import Installation, Worker, errors_for_people
from fine_tune_assets.defs.s06_adapters.adapters import GPU, READ_BY_GATES, behind_training, set_learned_from
from fine_tune_assets.defs.s07_judge_scores.promotion_verdicts import required_verdict
from fine_tune_assets.recipes.exports import ParityLimits
from fine_tune_assets.tables.merging import MergedWeights, QuantizedWeights
from fine_tune_assets.tables.records import only_record, table_from
from fine_tune_assets.tables.training import Adapter, BaseModel

GROUP = "s08_merged_weights"
_FIGURES = {
    "mean_kl": "mean_kl",
    "top1_agreement": "top1_agreement",
    "parity_tokens": "tokens",
    "same_greedy": "same_greedy",
    "parity_answers": "replies",
    "loss_increase": "loss_increase",
}
"""Column of a hop → figure of the worker's."""


def instruction_set_file(installation: Installation, adapter: Adapter) -> str:
    return str(set_learned_from(installation, adapter.instruction_set_fingerprint).folder / "instruction_set.parquet")


def kept_contract(installation: Installation, folder: str, adapter: Adapter) -> PromptContract:
    """The prompt contract of a model's folder, if it is the one that the adapter was trained with. Raises GateClosedError."""
    facts = set_learned_from(installation, adapter.instruction_set_fingerprint).manifest["facts"]
    contract = read_prompt_contract(installation.path(folder), facts["system_prompt"])
    if contract.fingerprint != adapter.prompt_fingerprint:
        raise GateClosedError(
            f"The prompt contract of {installation.path(folder).name} (chat template, special tokens, stop ids, system prompt) "
            "is not the one that the adapter was trained with. Restore its tokenizer files, or train again."
        )
    return contract


@dg.asset(
    group_name=GROUP,
    deps=[*READ_BY_GATES, "promotion_verdicts", recipe_section("weights")],
    pool=GPU,
    automation_condition=behind_training(),
    description="Base model and adapter as one model (Safetensors), proven to answer as the adapter did. Only if promoted.",
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
    adapter, base = only_record(Adapter, adapters), only_record(BaseModel, base_models)
    recipe = installation.recipe
    with errors_for_people():
        verdict = required_verdict(installation, adapter)
        require_same_base(base, adapter)
        contract = kept_contract(installation, base.folder, adapter)
        request = {
            "action": "merge",
            "base_folder": str(installation.path(base.folder)),
            "base_fingerprint": base.fingerprint,
            "adapter_folder": str(installation.path(adapter.folder)),
            "adapter_id": adapter.adapter_id,
            "weights_dir": str(installation.layout.weights),
            "is_quantized": adapter.method == "qlora",
            "dtype": recipe.merged_dtype,
            "instruction_set": instruction_set_file(installation, adapter),
            "system_prompt": contract.system_prompt,
            "limits": asdict(recipe.gate.merge_limits),
        }
    told = worker.run(context, "merging", request)
    merged = MergedWeights(
        weights_fingerprint=told["weights_fingerprint"],
        folder=installation.stored_path(told["folder"]),
        adapter_id=adapter.adapter_id,
        base_fingerprint=base.fingerprint,
        verdict_id=verdict.verdict_id,
        dtype=told["dtype"],
        bytes=told["size_bytes"],
        **hop_columns(told["parity"], recipe.gate.merge_limits, why=""),
        route=told["route"],
        probes_fingerprint=told["probes_fingerprint"],
        probes_file=installation.stored_path(told["probes_file"]),
    )
    table = table_from(MergedWeights, [merged])
    return result("merged_weights", table, fingerprint_table(table), **hop_metadata(merged))


def hop_columns(parity: dict[str, Any] | None, limits: ParityLimits, why: str) -> dict[str, Any]:
    """The columns of a hop: figures, limits, and whether it passed. No figures: it could not be asked."""
    figures = {column: None if parity is None else parity[name] for column, name in _FIGURES.items()}
    return {**figures, **asdict(limits), "is_passed": parity is not None and not why, "why": why}


def hop_metadata(weights: MergedWeights | QuantizedWeights) -> dict[str, Any]:
    """What people see of a hop: figures that there are, and why it failed."""
    shown = {name: value for name in _FIGURES if (value := getattr(weights, name)) is not None}
    return {**shown, WHY: weights.why or "within all limits"}


@dg.asset_check(
    asset="merged_weights",
    blocking=True,
    description="The merged weights answer as the adapter did: KL, first choices, greedy answers and loss are within limits.",
)
def merged_weights_answer_as_the_adapter(merged_weights: pa.Table) -> dg.AssetCheckResult:
    merged = only_record(MergedWeights, merged_weights)
    return checked(merged.is_passed is True, **hop_metadata(merged))


def require_same_adapter(merged: MergedWeights, adapter: Adapter) -> None:
    if merged.adapter_id != adapter.adapter_id:
        raise GateClosedError(f"The merged weights are of another adapter. {materialize_hint('merged_weights')}")


def require_same_base(base: BaseModel, adapter: Adapter) -> None:
    if base.fingerprint != adapter.base_fingerprint:
        raise GateClosedError(
            f"The base model is not the one that the adapter was trained on. {materialize_hint('adapters')}"
        )

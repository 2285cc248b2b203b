"""Stage 8: from a promoted adapter to a release.

Belongs here: merging, exporting and putting a release together, each behind the verdict in the ledger. Must stay out: how
weights are merged (see `merging/`).
"""

from dataclasses import asdict
from typing import Any

import dagster as dg
import pyarrow as pa

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.fingerprints import fingerprint_table, short
from fine_tune_assets.core.prompt_contract import PromptContract, read_prompt_contract
from fine_tune_assets.core.records import Release, Verdict
from fine_tune_assets.core.releases import MODEL, verify_release
from fine_tune_assets.core.tables import MERGED_WEIGHTS, QUANTIZED_WEIGHTS, RELEASES, table_of
from fine_tune_assets.defs.metadata import OWNERS, definition_metadata, result
from fine_tune_assets.defs.resources import Installation, Worker, errors_for_people
from fine_tune_assets.defs.s06_adapters import GPU, behind_training, set_learned_from
from fine_tune_assets.defs.s07_promotion_verdicts import required_verdict
from fine_tune_assets.defs.sources import recipe_section
from fine_tune_assets.ledger.releases import record_release
from fine_tune_assets.merging.releasing import build_release

GROUP = "s08_merged_weights"


def _instruction_set_file(installation: Installation, adapter: dict[str, Any]) -> str:
    return str(set_learned_from(installation, adapter).folder / "instruction_set.parquet")


def _kept_contract(installation: Installation, folder: str, adapter: dict[str, Any]) -> PromptContract:
    """The prompt contract of a model's folder, if it is the one that the adapter was trained with. Raises GateClosedError."""
    facts = set_learned_from(installation, adapter).manifest["facts"]
    contract = read_prompt_contract(installation.path(folder), facts["system_prompt"])
    if not contract.is_named_by(adapter["prompt_fingerprint"]):
        raise GateClosedError(
            f"The prompt contract of {installation.path(folder).name} (chat template, special tokens, stop ids, system prompt) "
            "is not the one that the adapter was trained with. Restore its tokenizer files, or train again."
        )
    return contract


@dg.asset(
    group_name=GROUP,
    deps=["promotion_verdicts", recipe_section("weights")],
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
    adapter, base, recipe = adapters.to_pylist()[0], base_models.to_pylist()[0], installation.recipe
    with errors_for_people():
        verdict = required_verdict(installation, adapter)
        if base["fingerprint"] != adapter["base_fingerprint"]:
            raise GateClosedError("The base model is not the one that the adapter was trained on. Train again.")
        _kept_contract(installation, base["folder"], adapter)
        request = {
            "action": "merge",
            "base_folder": str(installation.path(base["folder"])),
            "base_fingerprint": base["fingerprint"],
            "adapter_folder": str(installation.path(adapter["folder"])),
            "adapter_id": adapter["adapter_id"],
            "weights_dir": str(installation.layout.weights),
            "is_quantized": adapter["method"] == "qlora",
            "dtype": recipe.merged_dtype,
            "instruction_set": _instruction_set_file(installation, adapter),
            "maximum_kl": recipe.gate.maximum_merge_kl,
        }
    merged = worker.run(context, "merging", request)
    row = {
        "weights_fingerprint": merged["weights_fingerprint"],
        "folder": installation.stored_path(merged["folder"]),
        "adapter_id": adapter["adapter_id"],
        "base_fingerprint": base["fingerprint"],
        "verdict_id": verdict.verdict_id,
        "dtype": merged["dtype"],
        "bytes": merged["size_bytes"],
        "mean_kl": merged["parity"]["mean_kl"],
        "top1_agreement": merged["parity"]["top1_agreement"],
    }
    table = table_of([row], MERGED_WEIGHTS)
    return result(
        "merged_weights", table, fingerprint_table(table), mean_kl=row["mean_kl"], top1_agreement=row["top1_agreement"]
    )


@dg.asset(
    group_name=GROUP,
    deps=[recipe_section("exports")],
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
) -> dg.MaterializeResult[pa.Table]:
    merged, adapter, recipe = merged_weights.to_pylist()[0], adapters.to_pylist()[0], installation.recipe
    with errors_for_people():
        _require_same_adapter(merged, adapter)
        required_verdict(installation, adapter)
        contract = _kept_contract(installation, merged["folder"], adapter)
        request = {
            "action": "export",
            "turn_end_id": contract.turn_end_id,
            "merged_folder": str(installation.path(merged["folder"])),
            "weights_fingerprint": merged["weights_fingerprint"],
            "weights_dir": str(installation.layout.weights),
            "formats": list(recipe.exports),
            "instruction_set": _instruction_set_file(installation, adapter),
            "maximum_kl": recipe.gate.maximum_quantized_kl,
        }
    exports = worker.run(context, "merging", request)["exports"]
    rows = [
        {
            "format": export["format"],
            "file": installation.stored_path(export["file"]),
            "fingerprint": export["fingerprint"],
            "weights_fingerprint": merged["weights_fingerprint"],
            "bytes": export["size_bytes"],
            **export["parity"],
        }
        for export in exports
    ]
    table = table_of([{name: row[name] for name in QUANTIZED_WEIGHTS.names} for row in rows], QUANTIZED_WEIGHTS)
    kl = {f"mean_kl_{row['format']}": row["mean_kl"] for row in rows}
    return result("quantized_weights", table, fingerprint_table(table), **kl)


def _require_same_adapter(merged: dict[str, Any], adapter: dict[str, Any]) -> None:
    if merged["adapter_id"] != adapter["adapter_id"]:
        raise GateClosedError("The merged weights are of another adapter. Materialize merged_weights again.")


@dg.asset(
    group_name=GROUP,
    automation_condition=behind_training(),
    description="One folder with the model, its prompt and the evidence for it, named by its content. What is served.",
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
    merged, adapter, base = (t.to_pylist()[0] for t in (merged_weights, adapters, base_models))
    export = quantized_weights.to_pylist()[0]
    with errors_for_people():
        _require_same_adapter(merged, adapter)
        if export["weights_fingerprint"] != merged["weights_fingerprint"]:
            raise GateClosedError("The export is of other weights. Materialize quantized_weights again.")
        verdict = required_verdict(installation, adapter)
        if base["fingerprint"] != adapter["base_fingerprint"]:
            raise GateClosedError("The base model is not the one that the adapter was trained on. Train again.")
        release = _build(installation, merged, export, adapter, base, verdict)
        with installation.ledger() as ledger:
            record_release(ledger, release)
    row = {name: value for name, value in asdict(release).items() if name in RELEASES.names}
    table = table_of([row], RELEASES)
    return result("releases", table, release.release_id, release=release.release_id)


def _build(
    installation: Installation,
    merged: dict[str, Any],
    export: dict[str, Any],
    adapter: dict[str, Any],
    base: dict[str, Any],
    verdict: Verdict,
) -> Release:
    contract = _kept_contract(installation, merged["folder"], adapter)
    bound = {
        "verdict_id": verdict.verdict_id,
        "adapter_id": adapter["adapter_id"],
        "base_fingerprint": base["fingerprint"],
        "instruction_set_fingerprint": adapter["instruction_set_fingerprint"],
        "weights_fingerprint": merged["weights_fingerprint"],
        "prompt_fingerprint": contract.fingerprint,
    }
    stored = set_learned_from(installation, adapter)
    folder = build_release(
        installation.layout.releases,
        installation.path(export["file"]),
        contract,
        {
            "verdict.json": verdict.evidence,
            "instruction_set.json": (stored.folder / "manifest.json").read_text(encoding="utf-8"),
        },
        {
            **bound,
            "format": export["format"],
            "base_model": base["name"],
            "base_licence": base["licence"],
            "merged_mean_kl": merged["mean_kl"],
            "export_mean_kl": export["mean_kl"],
            "verdict_reasons": list(verdict.reasons),
        },
    )
    return Release(release_id=folder.release_id, folder=installation.stored_path(str(folder.folder)), **bound)


@dg.asset_check(
    asset="releases",
    blocking=True,
    additional_ins={"quantized_weights": dg.AssetIn("quantized_weights")},
    description="The release's model file is the export that was measured, byte for byte.",
)
def release_holds_the_measured_weights(
    installation: Installation, releases: pa.Table, quantized_weights: pa.Table
) -> dg.AssetCheckResult:
    row = releases.to_pylist()[0]
    with errors_for_people():
        verified = verify_release(installation.path(row["folder"]), row["release_id"])
    wanted = quantized_weights.to_pylist()[0]["fingerprint"]
    return dg.AssetCheckResult(
        passed=verified.manifest["files"][MODEL] == wanted, metadata={"model": short(verified.manifest["files"][MODEL])}
    )

"""What a stored hop says is what Dagster shows, and what exporting and releasing go by."""

from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
import yaml

from fine_tune_assets.core.prompts.prompt_contract import read_prompt_contract
from fine_tune_assets.defs.platform.resources import Installation, Worker
from fine_tune_assets.defs.s05_instruction_sets.instruction_sets import defining_facts
from fine_tune_assets.defs.s08_merged_weights.merged_weights import merged_weights_match_adapter, parity_columns
from fine_tune_assets.defs.s08_merged_weights.quantized_weights import (
    every_export_matches_merged_weights,
    export_metadata,
    quantized_weights,
    served_export_matches_merged_weights,
)
from fine_tune_assets.defs.s08_merged_weights.releases import releases
from fine_tune_assets.instructions.stored_sets import write_instruction_set
from fine_tune_assets.ledger.serving.verdict_documents import write_document
from fine_tune_assets.ledger.serving.verdicts import record_verdict
from fine_tune_assets.merging.signed_records import sign_merged
from fine_tune_assets.recipes.export_settings import DEFAULT_LIMITS
from fine_tune_assets.tables.merging_rows import MergedWeights, QuantizedWeights
from fine_tune_assets.tables.record_classes import iter_records, read_single_record, table_from_records
from fine_tune_assets_tests.conftest import write_recipe
from fine_tune_assets_tests.core.model_folders import make_model_folder
from fine_tune_assets_tests.instructions.examples import SEARCH, built
from fine_tune_assets_tests.ledger.ledger_rows import make_verdict
from fine_tune_assets_tests.lineage.stored_data import filled

LIMITS = DEFAULT_LIMITS["q8_0"]
FIGURES = {
    "mean_kl": 0.001, "top1_agreement": 0.99, "tokens": 900, "greedy_agreement": 1.0, "answers": 8, "loss_increase": 0.0,
}  # fmt: skip
PASSED = {**parity_columns(FIGURES, LIMITS, ""), "weights_fingerprint": "w", "adapter_id": "a"}
TOO_FAR = {**parity_columns({**FIGURES, "mean_kl": 9.0}, LIMITS, "It differs too much."), "weights_fingerprint": "w"}
NOT_MADE = {**parity_columns(None, LIMITS, "The converter failed."), "weights_fingerprint": "w"}
OF_BEFORE = {"weights_fingerprint": "w", "adapter_id": "a", "is_passed": None, "failure_reason": None}


def _exports(*rows: dict[str, Any]) -> Any:
    return filled(
        "quantized_weights", [{"format": name, **row} for name, row in zip(("lora_f16", "q4_k_m"), rows, strict=False)]
    )


def test_a_hop_without_figures_has_not_passed() -> None:
    assert PASSED["is_passed"] is True
    assert (TOO_FAR["is_passed"], NOT_MADE["is_passed"], NOT_MADE["mean_kl"]) == (False, False, None)
    assert PASSED["maximum_kl"] == LIMITS.maximum_kl


def _served(table: Any) -> bool:
    found = served_export_matches_merged_weights(installation=Installation(), quantized_weights=table)
    assert isinstance(found, dg.AssetCheckResult)
    return found.passed


@pytest.mark.usefixtures("installation_dir")
@pytest.mark.parametrize("failed", [TOO_FAR, NOT_MADE])
def test_only_the_served_export_holds_up_the_graph(failed: dict[str, Any]) -> None:
    """A failed export that is not served is reported but does not block the served one."""
    cases = (((PASSED, PASSED), True, True), ((PASSED, failed), True, False), ((failed, PASSED), False, False))
    for rows, served, every in cases:
        table = _exports(*rows)
        assert _served(table) is served
        assert every_export_matches_merged_weights(table).passed is every
    assert failed["failure_reason"] in str(every_export_matches_merged_weights(table).metadata["reason"])
    assert "mean_kl_q4_k_m" in export_metadata(list(iter_records(QuantizedWeights, table)))


def _write_engine(data: Path, **changes: Any) -> None:
    path = write_recipe(data)
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def test_the_served_export_is_the_recipes_first_one_regardless_of_row_order(installation_dir: Path) -> None:
    """And one that is not in the table has not passed."""
    _write_engine(installation_dir, exports=["q4_k_m", "lora_f16"])
    assert not _served(_exports(PASSED, TOO_FAR))
    assert _served(_exports(TOO_FAR, PASSED))
    assert not _served(_exports(PASSED))
    assert not _served(_exports())


@pytest.mark.parametrize("failed", [TOO_FAR, NOT_MADE])
def test_an_export_that_is_not_served_blocks_nothing(installation_dir: Path, failed: dict[str, Any]) -> None:
    """vLLM serves the merged weights. The other check reports a failed export."""
    _write_engine(installation_dir, engine="vllm")
    assert _served(_exports(failed))
    assert _served(_exports())
    assert not every_export_matches_merged_weights(_exports(failed)).passed


def test_to_export_nothing_no_process_is_started(installation_dir: Path, instance: dg.DagsterInstance) -> None:  # noqa: ARG001
    """With vLLM nothing needs to be exported: the model would be loaded for nothing. Every gate holds as ever."""
    _write_engine(installation_dir, engine="vllm", exports=[])
    adapter = _promoted(installation_dir)
    merged = PASSED | {"adapter_id": adapter["adapter_id"], "folder": "weights/tiny"}
    base = filled("base_models", [{"fingerprint": adapter["base_fingerprint"]}])
    tables = {"merged_weights": _signed(filled("merged_weights", [merged])), "adapters": filled("adapters", [adapter])}
    tables["base_models"] = base
    run = partial(quantized_weights, dg.build_asset_context(), installation=Installation(), worker=Worker())
    made = run(**tables)
    assert made.value.num_rows == 0
    with pytest.raises(dg.Failure, match="fine-tune materialize merged_weights"):
        run(**{**tables, "merged_weights": filled("merged_weights", [{**merged, "is_passed": None}])})
    with pytest.raises(dg.Failure, match="signature"):
        run(**{**tables, "merged_weights": filled("merged_weights", [{**merged, "mean_kl": 0.0001}])})


def _signed(table: pa.Table) -> pa.Table:
    """As the step signs it."""
    installation, merged = Installation(), read_single_record(MergedWeights, table)
    probes = installation.path(merged.probes_file) if merged.probes_file else None
    return table_from_records(MergedWeights, [sign_merged(merged, installation.layout.keys, probes)])


def _promoted(data: Path) -> dict[str, Any]:
    """An adapter with a stored set, a verdict, and a model folder that has the contract that it was trained with."""
    layout, recipe = Installation().layout, Installation().recipe
    stored = write_instruction_set(layout.instruction_sets, built(), defining_facts(recipe), SEARCH)
    contract = read_prompt_contract(make_model_folder(data / "weights" / "tiny"), recipe.system_prompt)
    verdict = make_verdict("promote", instruction_set_fingerprint=stored.fingerprint)
    write_document(layout.verdicts, layout.keys, verdict)
    with Installation().ledger() as ledger:
        record_verdict(ledger, verdict)
    named = {name: getattr(verdict, name) for name in ("adapter_id", "base_fingerprint", "instruction_set_fingerprint")}
    return {**named, "prompt_fingerprint": contract.fingerprint}


def test_merged_weights_without_a_hop_on_record_do_not_pass() -> None:
    assert merged_weights_match_adapter(filled("merged_weights", [PASSED])).passed
    assert not merged_weights_match_adapter(filled("merged_weights", [OF_BEFORE])).passed


@pytest.mark.usefixtures("installation_dir")
@pytest.mark.parametrize(
    ("merged", "exports", "pattern"),
    [
        (OF_BEFORE, (PASSED,), "safetensors.*`fine-tune materialize merged_weights`"),
        (PASSED, (OF_BEFORE, PASSED), "lora_f16.*`fine-tune materialize quantized_weights`"),
        (PASSED, (TOO_FAR, PASSED), r"lora_f16.*It differs too much\."),
        (PASSED, (NOT_MADE, PASSED), r"lora_f16.*The converter failed\."),
    ],
)
def test_weights_without_parity_are_not_released(merged: dict[str, Any], exports: Any, pattern: str) -> None:
    """Applies to a run by hand without the checks too. No other format is used instead."""
    tables = filled("merged_weights", [merged]), _exports(*exports)
    others = filled("adapters", [{"adapter_id": "a"}]), filled("base_models", [{}])
    with pytest.raises(dg.Failure, match=pattern):
        releases(Installation(), *tables, *others)

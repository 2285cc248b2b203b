"""What a stored hop says is what Dagster shows, and what exporting and releasing go by."""

from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from fine_tune_assets.core.prompts.prompt_contract import read_prompt_contract
from fine_tune_assets.defs.platform.resources import Installation, Worker
from fine_tune_assets.defs.s05_instruction_sets.instruction_sets import deciding_facts
from fine_tune_assets.defs.s08_merged_weights.merged_weights import hop_columns, merged_weights_answer_as_the_adapter
from fine_tune_assets.defs.s08_merged_weights.quantized_weights import (
    every_export_answers_as_the_merged_weights,
    exports_metadata,
    quantized_weights,
    served_export_answers_as_the_merged_weights,
)
from fine_tune_assets.defs.s08_merged_weights.releases import releases
from fine_tune_assets.instructions.stored_sets import write_instruction_set
from fine_tune_assets.ledger.serving.verdict_documents import write_document
from fine_tune_assets.ledger.serving.verdicts import record_verdict
from fine_tune_assets.recipes.exports import DEFAULT_LIMITS
from fine_tune_assets.tables.merging import QuantizedWeights
from fine_tune_assets.tables.records import records_of
from fine_tune_assets_tests.conftest import write_recipe
from fine_tune_assets_tests.core.model_folders import make_model_folder
from fine_tune_assets_tests.instructions.examples import SEARCH, built
from fine_tune_assets_tests.ledger.made import make_verdict
from fine_tune_assets_tests.lineage.made import filled

LIMITS = DEFAULT_LIMITS["q8_0"]
FIGURES = {
    "mean_kl": 0.001, "top1_agreement": 0.99, "tokens": 900, "same_greedy": 1.0, "replies": 8, "loss_increase": 0.0,
}  # fmt: skip
PASSED = {**hop_columns(FIGURES, LIMITS, ""), "weights_fingerprint": "w", "adapter_id": "a"}
TOO_FAR = {**hop_columns({**FIGURES, "mean_kl": 9.0}, LIMITS, "It differs too much."), "weights_fingerprint": "w"}
NOT_MADE = {**hop_columns(None, LIMITS, "The converter failed."), "weights_fingerprint": "w"}
OF_BEFORE = {"weights_fingerprint": "w", "adapter_id": "a", "is_passed": None, "why": None}


def _exports(*rows: dict[str, Any]) -> Any:
    return filled(
        "quantized_weights", [{"format": name, **row} for name, row in zip(("lora_f16", "q4_k_m"), rows, strict=False)]
    )


def test_a_hop_without_figures_has_not_passed() -> None:
    assert PASSED["is_passed"] is True
    assert (TOO_FAR["is_passed"], NOT_MADE["is_passed"], NOT_MADE["mean_kl"]) == (False, False, None)
    assert PASSED["maximum_kl"] == LIMITS.maximum_kl


def _served(table: Any) -> bool:
    found = served_export_answers_as_the_merged_weights(installation=Installation(), quantized_weights=table)
    assert isinstance(found, dg.AssetCheckResult)
    return found.passed


@pytest.mark.usefixtures("installation_dir")
@pytest.mark.parametrize("failed", [TOO_FAR, NOT_MADE])
def test_only_the_served_export_holds_up_the_graph(failed: dict[str, Any]) -> None:
    """Another one that failed is told, and the served one goes on without it."""
    cases = (((PASSED, PASSED), True, True), ((PASSED, failed), True, False), ((failed, PASSED), False, False))
    for rows, served, every in cases:
        table = _exports(*rows)
        assert _served(table) is served
        assert every_export_answers_as_the_merged_weights(table).passed is every
    assert failed["why"] in str(every_export_answers_as_the_merged_weights(table).metadata["why"])
    assert "mean_kl_q4_k_m" in exports_metadata(list(records_of(QuantizedWeights, table)))


def _write_engine(data: Path, **changes: Any) -> None:
    path = write_recipe(data)
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def test_the_served_export_is_the_recipes_first_one_wherever_its_row_stands(installation_dir: Path) -> None:
    """And one that is not in the table has not passed."""
    _write_engine(installation_dir, exports=["q4_k_m", "lora_f16"])
    assert not _served(_exports(PASSED, TOO_FAR))
    assert _served(_exports(TOO_FAR, PASSED))
    assert not _served(_exports(PASSED))
    assert not _served(_exports())


@pytest.mark.parametrize("failed", [TOO_FAR, NOT_MADE])
def test_an_export_that_nobody_serves_holds_up_nothing(installation_dir: Path, failed: dict[str, Any]) -> None:
    """vLLM serves the merged weights: an export that failed is told by the other check."""
    _write_engine(installation_dir, engine="vllm")
    assert _served(_exports(failed))
    assert _served(_exports())
    assert not every_export_answers_as_the_merged_weights(_exports(failed)).passed


def test_to_export_nothing_no_process_is_started(installation_dir: Path, instance: dg.DagsterInstance) -> None:  # noqa: ARG001
    """With vLLM nothing needs to be exported: the model would be loaded for nothing. Every gate holds as ever."""
    _write_engine(installation_dir, engine="vllm", exports=[])
    adapter = _promoted(installation_dir)
    merged = PASSED | {"adapter_id": adapter["adapter_id"], "folder": "weights/tiny"}
    base = filled("base_models", [{"fingerprint": adapter["base_fingerprint"]}])
    tables = {"merged_weights": filled("merged_weights", [merged]), "adapters": filled("adapters", [adapter])}
    tables["base_models"] = base
    run = partial(quantized_weights, dg.build_asset_context(), installation=Installation(), worker=Worker())
    made = run(**tables)
    assert made.value.num_rows == 0
    with pytest.raises(dg.Failure, match="no parity on record"):
        run(**{**tables, "merged_weights": filled("merged_weights", [{**merged, "is_passed": None}])})


def _promoted(data: Path) -> dict[str, Any]:
    """An adapter with a stored set, a verdict, and a model folder that has the contract that it was trained with."""
    layout, recipe = Installation().layout, Installation().recipe
    stored = write_instruction_set(layout.instruction_sets, built(), deciding_facts(recipe), SEARCH)
    contract = read_prompt_contract(make_model_folder(data / "weights" / "tiny"), recipe.system_prompt)
    verdict = make_verdict("promote", instruction_set_fingerprint=stored.fingerprint)
    write_document(layout.verdicts, layout.keys, verdict)
    with Installation().ledger() as ledger:
        record_verdict(ledger, verdict)
    named = {name: getattr(verdict, name) for name in ("adapter_id", "base_fingerprint", "instruction_set_fingerprint")}
    return {**named, "prompt_fingerprint": contract.fingerprint}


def test_merged_weights_without_a_hop_on_record_do_not_pass() -> None:
    assert merged_weights_answer_as_the_adapter(filled("merged_weights", [PASSED])).passed
    assert not merged_weights_answer_as_the_adapter(filled("merged_weights", [OF_BEFORE])).passed


@pytest.mark.usefixtures("installation_dir")
@pytest.mark.parametrize(
    ("merged", "exports", "said"),
    [
        (OF_BEFORE, (PASSED,), "no parity on record for the safetensors weights"),
        (PASSED, (OF_BEFORE, PASSED), "no parity on record for the lora_f16 weights"),
        (PASSED, (TOO_FAR, PASSED), "no other format takes their place. It differs too much."),
        (PASSED, (NOT_MADE, PASSED), "no other format takes their place. The converter failed."),
    ],
)
def test_nothing_is_released_behind_a_failed_hop(merged: dict[str, Any], exports: Any, said: str) -> None:
    """Also when the step is started by hand, past every check. No format falls through to another one."""
    tables = filled("merged_weights", [merged]), _exports(*exports)
    others = filled("adapters", [{"adapter_id": "a"}]), filled("base_models", [{}])
    with pytest.raises(dg.Failure, match=said):
        releases(Installation(), *tables, *others)

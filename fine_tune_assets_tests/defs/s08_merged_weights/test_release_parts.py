"""Which export is served: the recipe's first one, of exactly these weights, or none."""

from dataclasses import replace
from typing import Any

import pytest

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.defs.s08_merged_weights.release_parts import find_served_export
from fine_tune_assets.recipes.export_settings import LORA_SAFETENSORS
from fine_tune_assets.recipes.loader import load_recipe
from fine_tune_assets.tables.merging_rows import MergedWeights, QuantizedWeights
from fine_tune_assets_tests.record_factory import made

RECIPE = load_recipe("demo_smollm2")
MERGED = made(MergedWeights, weights_fingerprint="w1")


def _export(name: str, weights: str = "w1", **changes: Any) -> QuantizedWeights:
    values = {"format": name, "weights_fingerprint": weights, "path": f"weights/{name}", "is_passed": True}
    return made(QuantizedWeights, **{**values, **changes})


def test_the_recipes_first_export_is_served_regardless_of_table_order() -> None:
    first = RECIPE.exports[0]
    assert find_served_export(RECIPE, [_export("other"), _export(first)], MERGED) == _export(first)


def test_vllm_serves_the_adapter_only_if_the_recipe_names_it_first() -> None:
    """Otherwise it serves the merged weights, whatever else is exported."""
    adapter, other = _export(LORA_SAFETENSORS), _export("q8_0")
    merged = replace(RECIPE, engine="vllm", exports=("q8_0", LORA_SAFETENSORS))
    assert find_served_export(merged, [adapter, other], MERGED) is None
    alone = replace(RECIPE, engine="vllm", exports=(LORA_SAFETENSORS,))
    assert find_served_export(alone, [other, adapter], MERGED) == adapter
    with pytest.raises(GateClosedError):
        find_served_export(alone, [other], MERGED)
    assert find_served_export(replace(alone, exports=()), [], MERGED) is None
    with pytest.raises(ValueError, match="engine: llama_cpp"):
        replace(RECIPE, exports=(LORA_SAFETENSORS, "q8_0"))


@pytest.mark.parametrize(
    ("exports", "reason"),
    [
        ([], "There is no .* export"),
        ([_export("other")], "There is no .* export"),
        ([_export(RECIPE.exports[0], "w0")], "w1"),
        (
            [_export(RECIPE.exports[0], path=None, is_passed=False, failure_reason="KL is .5."), _export("other")],
            r"KL is \.5",
        ),
    ],
)
def test_a_release_requires_the_requested_export(exports: list[QuantizedWeights], reason: str) -> None:
    """An export that failed its measure is not there: another format must not be served in its place, unseen."""
    with pytest.raises(GateClosedError, match=reason):
        find_served_export(RECIPE, exports, MERGED)

"""Which export is served: the recipe's first one, of exactly these weights, or none."""

from typing import Any

import pytest

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.defs.s08_merged_weights.release_parts import served_export
from fine_tune_assets.recipes.loader import load_recipe
from fine_tune_assets.tables.merging import MergedWeights, QuantizedWeights
from fine_tune_assets_tests.made_records import made

RECIPE = load_recipe("demo_smollm2")
MERGED = made(MergedWeights, weights_fingerprint="w1")


def _export(name: str, weights: str = "w1", **changes: Any) -> QuantizedWeights:
    values = {"format": name, "weights_fingerprint": weights, "file": f"weights/{name}", "is_passed": True}
    return made(QuantizedWeights, **{**values, **changes})


def test_the_recipes_first_export_is_served_wherever_it_stands_in_the_table() -> None:
    first = RECIPE.exports[0]
    assert served_export(RECIPE, [_export("other"), _export(first)], MERGED) == _export(first)


@pytest.mark.parametrize(
    ("exports", "reason"),
    [
        ([], "There is no .* export"),
        ([_export("other")], "There is no .* export"),
        ([_export(RECIPE.exports[0], "w0")], "of other weights"),
        (
            [_export(RECIPE.exports[0], file=None, is_passed=False, why="KL is .5."), _export("other")],
            r"no other format takes their place.*KL is \.5",
        ),
    ],
)
def test_without_the_export_that_was_asked_for_there_is_no_release(
    exports: list[QuantizedWeights], reason: str
) -> None:
    """An export that failed its measure is not there: another format must not be served in its place, unseen."""
    with pytest.raises(GateClosedError, match=reason):
        served_export(RECIPE, exports, MERGED)

"""What a stored hop says is what Dagster shows, and what exporting and releasing go by."""

from typing import Any

import dagster as dg
import pytest

from fine_tune_assets.defs.resources import Installation
from fine_tune_assets.defs.s08_merged_weights import hop_columns, merged_weights_answer_as_the_adapter
from fine_tune_assets.defs.s08_quantized_weights import (
    every_export_answers_as_the_merged_weights,
    exports_metadata,
    served_export_answers_as_the_merged_weights,
)
from fine_tune_assets.defs.s08_releases import releases
from fine_tune_assets.recipes.exports import DEFAULT_LIMITS
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
        "quantized_weights", [{"format": name, **row} for name, row in zip(("q8_0", "q4_k_m"), rows, strict=False)]
    )


def test_a_hop_without_figures_has_not_passed() -> None:
    assert PASSED["is_passed"] is True
    assert (TOO_FAR["is_passed"], NOT_MADE["is_passed"], NOT_MADE["mean_kl"]) == (False, False, None)
    assert PASSED["maximum_kl"] == LIMITS.maximum_kl


@pytest.mark.parametrize("failed", [TOO_FAR, NOT_MADE])
def test_only_the_served_export_holds_up_the_graph(failed: dict[str, Any]) -> None:
    """Another one that failed is told, and the served one goes on without it."""
    cases = (((PASSED, PASSED), True, True), ((PASSED, failed), True, False), ((failed, PASSED), False, False))
    for rows, served, every in cases:
        table = _exports(*rows)
        assert served_export_answers_as_the_merged_weights(table).passed is served
        assert every_export_answers_as_the_merged_weights(table).passed is every
    assert failed["why"] in str(every_export_answers_as_the_merged_weights(table).metadata["why"])
    assert "mean_kl_q4_k_m" in exports_metadata(table.to_pylist())


def test_merged_weights_without_a_hop_on_record_do_not_pass() -> None:
    assert merged_weights_answer_as_the_adapter(filled("merged_weights", [PASSED])).passed
    assert not merged_weights_answer_as_the_adapter(filled("merged_weights", [OF_BEFORE])).passed


@pytest.mark.usefixtures("installation_dir")
@pytest.mark.parametrize(
    ("merged", "exports", "said"),
    [
        (OF_BEFORE, (PASSED,), "no parity on record for the safetensors weights"),
        (PASSED, (OF_BEFORE, PASSED), "no parity on record for the q8_0 weights"),
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

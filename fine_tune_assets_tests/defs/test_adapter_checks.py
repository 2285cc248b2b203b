"""What an adapter has to show before it is judged: each check closes."""

from typing import Any

import dagster as dg
import pyarrow as pa
import pytest

from fine_tune_assets.defs.platform.metadata import WHY
from fine_tune_assets.defs.s06_adapters.adapters import training_changed_the_model, validation_loss_fell
from fine_tune_assets.tables.records import table_from
from fine_tune_assets.tables.training import Adapter
from fine_tune_assets.training.decisions import NothingLearnedError, require_learned
from fine_tune_assets_tests.made_records import made


def _adapters(**figures: Any) -> pa.Table:
    return table_from(Adapter, [made(Adapter, **figures)])


@pytest.mark.parametrize(
    ("divergence", "passes"), [(0.8, True), (1e-4, True), (9e-5, False), (0.0, False), (None, False)]
)
def test_an_adapter_that_answers_as_the_base_model_closes_the_gate(divergence: float | None, passes: bool) -> None:
    """And so does one of which nobody measured it, as of before there was the figure."""
    found = training_changed_the_model(_adapters(base_divergence=divergence))
    assert isinstance(found, dg.AssetCheckResult)
    assert found.passed is passes
    assert (WHY in found.metadata) is not passes


@pytest.mark.parametrize(("best", "passes"), [(2.0, True), (3.0, False), (3.5, False), (float("nan"), False)])
def test_a_validation_loss_that_did_not_fall_closes_the_gate(best: float, passes: bool) -> None:
    """The first measurement is that of the base model."""
    found = validation_loss_fell(_adapters(first_validation_loss=3.0, best_validation_loss=best))
    assert isinstance(found, dg.AssetCheckResult)
    assert found.passed is passes


@pytest.mark.parametrize(
    "figures", [{"base_divergence": None}, {"base_divergence": 9e-5}, {"best_validation_loss": 3.0}]
)
def test_what_learned_nothing_is_not_judged(figures: dict[str, Any]) -> None:
    """A blocking check stops its own run only: a step that somebody starts by hand asks the adapter's row again."""
    learned = {"base_divergence": 0.8, "first_validation_loss": 3.0, "best_validation_loss": 2.0}
    require_learned(made(Adapter, **learned))
    with pytest.raises(NothingLearnedError):
        require_learned(made(Adapter, **{**learned, **figures}))

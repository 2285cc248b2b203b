"""What an adapter has to show before it is judged: each check closes."""

from typing import Any

import dagster as dg
import pyarrow as pa
import pytest

from fine_tune_assets.defs.platform.metadata import REASON
from fine_tune_assets.defs.s06_adapters.adapters import adapter_differs_from_base_model, validation_loss_decreased
from fine_tune_assets.tables.record_classes import table_from_records
from fine_tune_assets.tables.training_rows import Adapter
from fine_tune_assets.training.training_due import UnchangedAdapterError, require_changed_adapter
from fine_tune_assets_tests.record_factory import made


def _adapters(**figures: Any) -> pa.Table:
    return table_from_records(Adapter, [made(Adapter, **figures)])


@pytest.mark.parametrize(
    ("divergence", "passes"), [(0.8, True), (1e-4, True), (9e-5, False), (0.0, False), (None, False)]
)
def test_an_adapter_that_answers_as_the_base_model_closes_the_gate(divergence: float | None, passes: bool) -> None:
    """A missing measurement closes the gate too, such as that of an adapter older than the metric."""
    found = adapter_differs_from_base_model(_adapters(base_kl_divergence=divergence))
    assert isinstance(found, dg.AssetCheckResult)
    assert found.passed is passes
    assert (REASON in found.metadata) is not passes


@pytest.mark.parametrize(("best", "passes"), [(2.0, True), (3.0, False), (3.5, False), (float("nan"), False)])
def test_a_validation_loss_that_did_not_fall_closes_the_gate(best: float, passes: bool) -> None:
    """The first measurement uses the base model."""
    found = validation_loss_decreased(_adapters(first_validation_loss=3.0, best_validation_loss=best))
    assert isinstance(found, dg.AssetCheckResult)
    assert found.passed is passes


@pytest.mark.parametrize(
    "figures", [{"base_kl_divergence": None}, {"base_kl_divergence": 9e-5}, {"best_validation_loss": 3.0}]
)
def test_what_learned_nothing_is_not_judged(figures: dict[str, Any]) -> None:
    """A blocking check stops its own run only, so a step that is started manually reads the adapter's row again."""
    learned = {"base_kl_divergence": 0.8, "first_validation_loss": 3.0, "best_validation_loss": 2.0}
    require_changed_adapter(made(Adapter, **learned))
    with pytest.raises(UnchangedAdapterError):
        require_changed_adapter(made(Adapter, **{**learned, **figures}))

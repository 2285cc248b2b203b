"""One evaluation of the conditions, as `fine-tune materialize` makes it."""

import warnings
from typing import Any

import dagster as dg
import pytest

from fine_tune_assets.defs.platform.automation import on_new_batches, on_new_inputs
from fine_tune_assets.defs.platform.automation_sensor import evaluate_conditions

BATCHES = dg.DynamicPartitionsDefinition(name="some_batches")


@dg.asset(deps=["src"], partitions_def=BATCHES, automation_condition=on_new_batches())
def batched() -> None: ...


@dg.asset(deps=["other"], automation_condition=on_new_inputs())
def whole() -> None: ...


DEFS = dg.Definitions(assets=[dg.AssetSpec("src", partitions_def=BATCHES), dg.AssetSpec("other"), batched, whole])


@pytest.fixture
def instance() -> dg.DagsterInstance:
    """Two batches and one other source wait."""
    opened = dg.DagsterInstance.ephemeral()
    opened.add_dynamic_partitions("some_batches", ["a", "b"])
    for event in (*(dg.AssetMaterialization("src", partition=name) for name in "ab"), dg.AssetMaterialization("other")):
        opened.report_runless_asset_event(event)
    return opened


def _asked(evaluated: Any) -> dict[str, Any]:
    found = {r.key.to_user_string(): r.true_subset for r in evaluated.results}
    return {
        name: subset.expensively_compute_partition_keys() if subset.is_partitioned else subset.size
        for name, subset in found.items()
    }


def test_people_see_no_warnings_of_dagsters(instance: dg.DagsterInstance) -> None:
    """It runs in the middle of what `fine-tune demo` prints, some twenty times."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert _asked(evaluate_conditions(DEFS, instance)) == {"batched": {"a", "b"}, "whole": 1}

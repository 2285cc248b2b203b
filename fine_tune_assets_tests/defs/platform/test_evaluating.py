"""One evaluation of the conditions: what it says, and what it asks the database for."""

import warnings
from typing import Any

import dagster as dg
import pytest
from dagster._utils import Counter, traced_counter

from fine_tune_assets.defs.platform.automation import on_new_batches, on_new_inputs
from fine_tune_assets.defs.platform.automation_sensor import evaluate_conditions

BATCHES = dg.DynamicPartitionsDefinition(name="some_batches")
ASKED = "DagsterInstance.get_dynamic_partitions"


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


def test_it_asks_for_what_dagsters_own_asks_for_round_by_round(instance: dg.DagsterInstance) -> None:
    """Also with what the round before wrote down."""
    theirs, ours = dg.evaluate_automation_conditions(DEFS, instance), evaluate_conditions(DEFS, instance)
    assert _asked(ours) == {"batched": {"a", "b"}, "whole": 1}
    for _ in range(2):
        assert _asked(ours) == _asked(theirs)
        seen = [{c.key: c.result_value_hash for c in e.cursor.previous_condition_cursors} for e in (ours, theirs)]
        assert seen[0] == seen[1]
        theirs = dg.evaluate_automation_conditions(DEFS, instance, cursor=theirs.cursor)
        ours = evaluate_conditions(DEFS, instance, ours.cursor)


def test_the_names_of_the_batches_are_read_a_few_times_and_not_for_each_condition(instance: dg.DagsterInstance) -> None:
    """A query each was more than half of the time of a run of the whole graph, and minutes on PostgreSQL."""
    token = traced_counter.set(counter := Counter())
    try:
        evaluate_conditions(DEFS, instance)
        ours = counter.counts()[ASKED]
        dg.evaluate_automation_conditions(DEFS, instance)
        theirs = counter.counts()[ASKED] - ours
    finally:
        traced_counter.reset(token)
    assert ours < 5 < theirs


def test_people_see_no_warnings_of_dagsters(instance: dg.DagsterInstance) -> None:
    """It runs in the middle of what `fine-tune demo` prints, some twenty times."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert _asked(evaluate_conditions(DEFS, instance)) == {"batched": {"a", "b"}, "whole": 1}

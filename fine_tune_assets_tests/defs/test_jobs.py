"""When a changed batch is taken to the instruction sets in one run, and when the automation conditions start its runs."""

from collections.abc import Iterator

import dagster as dg
import pytest

from fine_tune_assets.definitions import defs
from fine_tune_assets.defs.jobs import BATCH_ASSETS, JOBS, MAY_BE_MISSING, TABLES_OF_ALL_BATCHES, plan_ingest
from fine_tune_assets.defs.platform.automation import CODE_VERSION, DATA_VERSION, INPUT_VERSION

GRAPH = defs.resolve_asset_graph()
GATE = dg.AssetCheckKey(dg.AssetKey("scrub_recall"), "scrub_recall_meets_floor")


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """Everything that a batch needs exists, and its gates are open."""
    with dg.DagsterInstance.ephemeral() as opened:
        made = {*BATCH_ASSETS, *TABLES_OF_ALL_BATCHES, *MAY_BE_MISSING}
        for key in GRAPH.toposorted_asset_keys:
            if key.to_user_string() not in made:
                _materialize(opened, key, "1")
                for check in GRAPH.get(key).check_keys:
                    _report_check(opened, check, passed=True)
        yield opened


def _materialize(instance: dg.DagsterInstance, key: dg.AssetKey, version: str) -> None:
    """As a run over inputs of version 1 does."""
    node = GRAPH.get(key)
    inputs = {INPUT_VERSION + "/".join(parent.path): "1" for parent in node.parent_keys}
    code = {CODE_VERSION: node.code_version} if node.code_version else {}
    instance.report_runless_asset_event(dg.AssetMaterialization(key, tags={DATA_VERSION: version, **inputs, **code}))


def _report_check(instance: dg.DagsterInstance, check: dg.AssetCheckKey, *, passed: bool) -> None:
    instance.report_runless_asset_event(dg.AssetCheckEvaluation(check.asset_key, check.name, passed, {}))


def test_one_changed_batch_starts_one_run_of_all_five_stages(instance: dg.DagsterInstance) -> None:
    """Otherwise each stage would wait for a tick of the automation sensor and a start of a process."""
    (request,) = plan_ingest(GRAPH, instance, ["2026-02"])
    assert request.partition_key == "2026-02"


def test_several_batches_are_left_to_the_conditions(instance: dg.DagsterInstance) -> None:
    """Each run would write the tables of all batches."""
    assert plan_ingest(GRAPH, instance, ["2026-02", "2026-03"]) == []
    assert plan_ingest(GRAPH, instance, []) == []


def test_a_run_in_progress_is_not_joined_by_another(instance: dg.DagsterInstance) -> None:
    """It may read the same tables."""
    instance.add_run(dg.DagsterRun("retrain", status=dg.DagsterRunStatus.STARTED))
    assert plan_ingest(GRAPH, instance, ["2026-02"]) == []


def test_a_closed_gate_upstream_starts_nothing(instance: dg.DagsterInstance) -> None:
    """The scrubber's recall is below its floor: the run would fail at the gate."""
    _report_check(instance, GATE, passed=False)
    assert plan_ingest(GRAPH, instance, ["2026-02"]) == []


def test_an_input_that_is_about_to_change_is_waited_for(instance: dg.DagsterInstance) -> None:
    """The scrubber's settings changed: its recall is measured again first, and the batch is scrubbed with the result."""
    _materialize(instance, dg.AssetKey("labelled_reports"), "2")
    assert plan_ingest(GRAPH, instance, ["2026-02"]) == []


def test_without_an_input_nothing_is_started() -> None:
    """As on the first start of an installation."""
    with dg.DagsterInstance.ephemeral() as empty:
        assert plan_ingest(GRAPH, empty, ["2026-02"]) == []


def test_every_job_has_a_description_and_selects_assets_that_exist() -> None:
    """People choose a job by it in the UI."""
    repository = defs.get_repository_def()
    for job in JOBS:
        assert job.description
        assert repository.get_job(job.name).asset_layer.executable_asset_keys

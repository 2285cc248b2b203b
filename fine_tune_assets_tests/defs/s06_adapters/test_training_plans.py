"""Stage 6 before a GPU is used: the plan that is stored and shown, the gates on it, and what was measured afterwards."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest

from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.fingerprints import fingerprint_folder
from fine_tune_assets.core.progress import ignore_progress
from fine_tune_assets.defs.platform.metadata import REASON
from fine_tune_assets.defs.platform.resources import Installation, Worker
from fine_tune_assets.defs.s06_adapters.adapters import planned_peak_bytes
from fine_tune_assets.defs.s06_adapters.training_plans import (
    describe_serving,
    make_plan,
    memory_rows,
    training_fits_this_machine,
    training_memory_matches_plan,
)
from fine_tune_assets.tables.record_classes import iter_records, table_from_records, table_from_rows
from fine_tune_assets.tables.training_rows import Adapter, BaseModel, ExampleLength, TrainingPlan, TrainingPreflight
from fine_tune_assets.training.__main__ import plan
from fine_tune_assets.training.planning.resource_plan import PlanError, remote_gpu_name, require_plan
from fine_tune_assets_tests.conftest import write_recipe
from fine_tune_assets_tests.record_factory import made
from fine_tune_assets_tests.training.published_configs import LLAMA_31_8B, config_folder
from fine_tune_assets_tests.training.tiny_training import SETTINGS, base_model


def _stated(schema: pa.Schema, **known: Any) -> pa.Table:
    """A row with something in every column that needs it."""
    something = {pa.string(): "x", pa.int64(): 1, pa.float64(): 1.0, pa.bool_(): True}
    row = {field.name: None if field.nullable else something[field.type] for field in schema}
    return table_from_rows([{**row, **known}], schema)


@pytest.fixture
def inputs(installation_dir: Path) -> tuple[pa.Table, pa.Table]:
    """Preflight and base model; the lengths are stored."""
    rows = [
        {
            "example_id": f"e-{n}",
            "split": split,
            "tokens": 40 + n,
            "supervised_tokens": 10,
            "fits": True,
            "turns": 1,
            "supervised_turns": 1,
        }
        for n, split in enumerate(["train"] * 12 + ["validation"] * 2)
    ]
    lengths = table_from_rows([{**row, "error": None} for row in rows], ExampleLength.SCHEMA)
    write_table(Installation().layout.table("example_lengths"), lengths)
    base = base_model(installation_dir / "base_models" / "tiny", 1.0)
    bound = {
        "instruction_set_fingerprint": "s",
        "base_fingerprint": fingerprint_folder(base),
        "training_fingerprint": "t",
    }
    preflight = _stated(TrainingPreflight.SCHEMA, **bound)
    model = _stated(BaseModel.SCHEMA, folder="base_models/tiny", fingerprint=bound["base_fingerprint"])
    return preflight, model


def _lengths() -> pa.Table:
    return Installation().stored("example_lengths").table()


def _recipe(data: Path, **changed: Any) -> None:
    settings = asdict(replace(SETTINGS, **changed)) | {"target_modules": "all-linear"}
    write_recipe(data, training=settings)


def _planned(instance: dg.DagsterInstance, inputs: tuple[pa.Table, pa.Table]) -> TrainingPlan:
    preflight, base = next(iter_records(TrainingPreflight, inputs[0])), next(iter_records(BaseModel, inputs[1]))
    plans: list[TrainingPlan] = []

    @dg.asset(name="training_plans")
    def asking(context: dg.AssetExecutionContext, worker: Worker) -> dg.MaterializeResult[None]:
        plans.append(make_plan(context, Installation(), worker, base, preflight, _lengths()))
        return dg.MaterializeResult()

    dg.materialize([asking], resources={"worker": Worker()}, instance=instance)
    return plans[0]


@pytest.mark.slow
def test_a_plan_is_bound_to_what_it_is_of_and_says_what_it_takes(
    installation_dir: Path, instance: dg.DagsterInstance, inputs: tuple[pa.Table, pa.Table]
) -> None:
    """Made by the trainer's own process, so that its libraries count; the largest batch of the step fits here."""
    _recipe(installation_dir, batch_size=2, gradient_accumulation=3, fit_batch_size=True)
    plan = _planned(instance, inputs)
    table_from_records(TrainingPlan, [plan])
    assert (plan.instruction_set_fingerprint, plan.training_fingerprint) == ("s", "t")
    assert (plan.fits, plan.batch_size, plan.gradient_accumulation, plan.steps) == (True, 6, 1, 2)
    assert (plan.max_batch_rows, plan.max_row_tokens) == (6, 51)
    assert plan.peak_bytes > plan.library_bytes > 200_000_000
    assert [part["part"] for part in memory_rows(plan)][-2:] == ["peak", "limit"]


def test_the_plan_shows_what_serving_needs_and_is_not_blocked_by_it(installation_dir: Path) -> None:
    """Serving may run on another host, but an engine that fits nowhere should be seen before the training."""
    config_folder(installation_dir / "base_models" / "8b", LLAMA_31_8B)
    base = made(BaseModel, folder="base_models/8b", parameter_count=8_030_261_248)
    serving = describe_serving(Installation(), base, made(TrainingPlan, adapter_bytes=168_000_000, limit_bytes=10**9))
    assert "2 engines" in serving
    assert "KV cache 1.3 GB" in serving


def test_a_model_whose_shape_is_unknown_is_trained_without_a_line_on_serving(installation_dir: Path) -> None:
    config_folder(installation_dir / "base_models" / "odd", {"hidden_size": 8, "vocab_size": 8})
    base = made(BaseModel, folder="base_models/odd", parameter_count=1)
    assert "config.json" in describe_serving(Installation(), base, made(TrainingPlan))


@pytest.mark.slow
def test_a_card_elsewhere_is_planned_for(
    installation_dir: Path,
    instance: dg.DagsterInstance,
    inputs: tuple[pa.Table, pa.Table],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A cluster of GPUs trains what fits its cards, whatever this machine has."""
    _recipe(installation_dir)
    monkeypatch.setenv("FINE_TUNE_RAY_GPU_MEMORY_GB", "24")
    monkeypatch.setenv("FINE_TUNE_RAY_ADDRESS", "http://10.0.0.5:8265")
    plan = _planned(instance, inputs)
    assert (plan.machine, plan.fits) == ("remote GPU, 24 GiB", True)


def test_a_cluster_of_unknown_cards_is_not_planned_for(
    installation_dir: Path,
    instance: dg.DagsterInstance,
    inputs: tuple[pa.Table, pa.Table],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """This machine's memory says nothing of the cluster's: the gate stays closed."""
    _recipe(installation_dir)
    monkeypatch.setenv("FINE_TUNE_RAY_ADDRESS", "http://10.0.0.5:8265")
    record, base = next(iter_records(TrainingPreflight, inputs[0])), next(iter_records(BaseModel, inputs[1]))
    with dg.build_asset_context(instance=instance) as context, pytest.raises(dg.Failure) as refused:
        make_plan(context, Installation(), Worker(), base, record, _lengths())
    assert "FINE_TUNE_RAY_GPU_MEMORY_GB" in str(refused.value.description)


def test_a_training_is_not_planned_from_a_shape(tmp_path: Path) -> None:
    """The gate: a folder with only config.json cannot be trained, whatever its fingerprint, so it is not planned either."""
    folder = config_folder(tmp_path / "shape", LLAMA_31_8B)
    request = {"base_folder": str(folder), "base_fingerprint": fingerprint_folder(folder)}
    with pytest.raises(PlanError, match="no weights"):
        plan(request, ignore_progress)


def test_the_plan_of_a_shape_is_not_the_plan_of_the_model(tmp_path: Path) -> None:
    """The gate before training asks for the plan of exactly this base: a shape has another fingerprint."""
    shape = fingerprint_folder(config_folder(tmp_path / "shape", LLAMA_31_8B))
    model = fingerprint_folder(base_model(tmp_path / "model", 1.0))
    bound = {"instruction_set_fingerprint": "s", "training_fingerprint": "t"}
    of_shape = made(TrainingPlan, **bound, base_fingerprint=shape, machine=remote_gpu_name(24), fits=True)
    require_plan([of_shape], 24, **bound, base_fingerprint=shape)
    with pytest.raises(PlanError, match="another base"):
        require_plan([of_shape], 24, **bound, base_fingerprint=model)


def test_what_does_not_fit_fails_its_check_with_what_to_change() -> None:
    """The check stops the run before it requests the GPU. It passes if the plan fits."""
    refused = _stated(TrainingPlan.SCHEMA, fits=False, shortfall="It needs 9 GB.", suggestion="batch_size: 1")
    found = training_fits_this_machine(refused)
    assert isinstance(found, dg.AssetCheckResult)
    assert not found.passed
    assert "It needs 9 GB. In the recipe's training section set batch_size: 1" in str(found.metadata[REASON].value)
    passed = training_fits_this_machine(_stated(TrainingPlan.SCHEMA))
    assert isinstance(passed, dg.AssetCheckResult)
    assert passed.passed


@pytest.mark.parametrize(
    ("planned", "measured", "is_passed"), [(100, 110, True), (100, 120, False), (100, 80, False), (None, 1, True)]
)
def test_a_training_that_took_other_memory_warns(planned: int | None, measured: int, is_passed: bool) -> None:
    """A plan that is off by more than it promises must not be trusted with the next card; it stops nothing."""
    row = _stated(Adapter.SCHEMA, planned_peak_bytes=planned, peak_memory_bytes=measured)
    found = training_memory_matches_plan(row)
    assert isinstance(found, dg.AssetCheckResult)
    assert (found.passed, found.severity) == (is_passed, dg.AssetCheckSeverity.WARN)


def test_what_was_not_planned_as_it_was_trained_is_not_compared(installation_dir: Path) -> None:
    """A GPU's measurement leaves out the driver's context, and the plan does not cover Unsloth."""
    _recipe(installation_dir)
    recipe, plan = Installation().recipe, made(TrainingPlan, peak_bytes=100, library_bytes=30)
    assert planned_peak_bytes(recipe, plan, "cpu") == 100
    assert planned_peak_bytes(recipe, plan, "cuda") == 70
    unsloth = replace(recipe, training=replace(recipe.training, engine="unsloth"))
    assert planned_peak_bytes(unsloth, plan, "cuda") is None

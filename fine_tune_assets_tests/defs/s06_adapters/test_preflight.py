"""Stage 6 before a GPU is used: what the graph stores, shows and refuses."""

import re
import stat
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest

from fine_tune_assets.core.fingerprints import fingerprint_folder
from fine_tune_assets.core.prompts.prompt_contract import read_prompt_contract
from fine_tune_assets.definitions import defs
from fine_tune_assets.defs.local_run import requested_runs
from fine_tune_assets.defs.platform.automation import DATA_VERSION
from fine_tune_assets.defs.platform.metadata import WHY
from fine_tune_assets.defs.platform.resources import Installation, Worker
from fine_tune_assets.defs.s05_instruction_sets.instruction_sets import deciding_facts
from fine_tune_assets.defs.s06_adapters.adapters import adapters
from fine_tune_assets.defs.s06_adapters.preflight import (
    enough_is_left_to_train_on,
    every_example_teaches_its_answer_and_its_stop,
    preflight,
    rows_in_are_rows_trained,
)
from fine_tune_assets.instructions.stored_sets import StoredInstructionSet, write_instruction_set
from fine_tune_assets.ledger.reviews.erasures import record_erasure
from fine_tune_assets.lineage.erasure import erasing_steps, find_patient
from fine_tune_assets.recipes.sections import section_fingerprints
from fine_tune_assets.tables.records import table_of
from fine_tune_assets.tables.training import BaseModel, ExampleLength, TrainingPlan
from fine_tune_assets_tests.conftest import write_recipe
from fine_tune_assets_tests.core.model_folders import make_model_folder
from fine_tune_assets_tests.instructions.examples import SEARCH, built, example, patients_in

MARKER = "Zyklopenmarker"
"""Stands in a report's text, and must stand nowhere else than on the page."""
NOTHING_FOUND = {"identifiers": {"findings": {}, "texts": 40, "scrubber_version": "s"}}


def _store(instance: dg.DagsterInstance, *extra: dict[str, Any]) -> StoredInstructionSet:
    facts = deciding_facts(Installation().recipe)
    stored = write_instruction_set(
        Installation().layout.instruction_sets, built(extra=extra), facts, SEARCH, NOTHING_FOUND
    )
    instance.report_runless_asset_event(
        dg.AssetMaterialization("instruction_sets", tags={DATA_VERSION: stored.fingerprint})
    )
    return stored


@pytest.fixture
def base(installation_dir: Path) -> pa.Table:
    folder = make_model_folder(installation_dir / "base_models" / "tiny")
    stated = {field.name: None if field.nullable else "x" for field in BaseModel.SCHEMA}
    row = stated | {"parameters": 1, "folder": "base_models/tiny"}
    return table_of([{**row, "name": "tiny", "fingerprint": fingerprint_folder(folder)}], BaseModel.SCHEMA)


def _look(instance: dg.DagsterInstance, stored: StoredInstructionSet, base: pa.Table) -> dict[str, Any]:
    with dg.build_asset_context(instance=instance) as context:
        results = list(preflight(context, Installation(), stored.table, base))
    return {result.asset_key.to_user_string(): result for result in results}


def _recipe(data: Path, **training: Any) -> None:
    write_recipe(data, training=training)


def test_the_record_names_exactly_what_was_looked_through(
    installation_dir: Path, instance: dg.DagsterInstance, base: pa.Table
) -> None:
    """Training asks for these."""
    _recipe(installation_dir, max_length=500, too_long="refuse")
    stored = _store(instance)
    found = _look(instance, stored, base)
    record, recipe = found["training_preflights"].value.to_pylist()[0], Installation().recipe
    contract = read_prompt_contract(installation_dir / "base_models" / "tiny", recipe.system_prompt)
    assert record["instruction_set_fingerprint"] == stored.fingerprint
    assert record["base_fingerprint"] == base.to_pylist()[0]["fingerprint"]
    assert record["training_fingerprint"] == section_fingerprints(recipe)["training"]
    assert record["prompt_fingerprint"] == contract.fingerprint
    assert record["is_clear"]
    lengths = found["example_lengths"].value
    assert lengths.column("example_id") == stored.table.column("example_id")
    assert every_example_teaches_its_answer_and_its_stop(example_lengths=lengths).passed  # type: ignore[union-attr]
    assert _checked(found).passed


def _checked(found: dict[str, Any]) -> dg.AssetCheckResult:
    tables = {name: found[name].value for name in ("training_preflights", "example_lengths")}
    result = rows_in_are_rows_trained(**tables)
    assert isinstance(result, dg.AssetCheckResult)
    return result


def test_examples_that_are_too_long_close_the_gate_unless_the_recipe_leaves_them_out(
    installation_dir: Path, instance: dg.DagsterInstance, base: pa.Table
) -> None:
    """By id in either case."""
    (patient,) = patients_in("train", 1)
    long = example(patient, "A finding. " * 60, suffix="-long")
    for rule, passes in (("refuse", False), ("leave_out", True)):
        _recipe(installation_dir, max_length=300, too_long=rule)
        checked = _checked(_look(instance, _store(instance, long), base))
        assert checked.passed is passes
        assert checked.metadata["ids"].value == [long["example_id"]]
        assert ("leave_out" in str(checked.metadata[WHY].value)) is not passes


def test_an_example_that_would_stop_early_closes_the_gate_by_id(
    installation_dir: Path, instance: dg.DagsterInstance, base: pa.Table
) -> None:
    """Without a word of its text."""
    _recipe(installation_dir, max_length=500)
    (patient,) = patients_in("train", 1)
    early = example(patient, f"{MARKER} x.", f"{MARKER}<end> Rest.", suffix="-early")
    found = _look(instance, _store(instance, early), base)
    checked = every_example_teaches_its_answer_and_its_stop(example_lengths=found["example_lengths"].value)
    assert isinstance(checked, dg.AssetCheckResult)
    assert not checked.passed
    assert str(early["example_id"]) in str(checked.metadata["faults"].value)
    assert MARKER not in str(checked.metadata)
    assert not found["training_preflights"].value.to_pylist()[0]["is_clear"]


def test_training_is_refused_without_the_record_of_exactly_this(
    installation_dir: Path, instance: dg.DagsterInstance, base: pa.Table
) -> None:
    """The recipe changed since, the base model changed since, or an example is too long: no GPU is used."""
    _recipe(installation_dir, max_length=500)
    stored = _store(instance)
    found = _look(instance, stored, base)
    tables = [found[name].value for name in ("example_lengths", "training_preflights")]
    other_base = table_of([{**base.to_pylist()[0], "fingerprint": "f" * 64}], BaseModel.SCHEMA)
    assert "of another base" in _refusal(instance, stored, other_base, *tables)
    _recipe(installation_dir, max_length=500, epochs=7)
    assert "of another training" in _refusal(instance, stored, base, *tables)
    _recipe(installation_dir, max_length=40, too_long="refuse")
    found = _look(instance, stored, base)
    tables = [found[name].value for name in ("example_lengths", "training_preflights")]
    assert "longer than training.max_length (40 tokens)" in _refusal(instance, stored, base, *tables)


def test_training_is_refused_without_the_engine_of_the_recipe(
    installation_dir: Path, instance: dg.DagsterInstance, base: pa.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a clear preflight too: the environment may be gone since. No process is started."""
    monkeypatch.setenv("FINE_TUNE_UNSLOTH_PYTHON", str(installation_dir / "no-environment" / "python"))
    _recipe(installation_dir, max_length=500, engine="unsloth")
    stored = _store(instance)
    found = _look(instance, stored, base)
    tables = [found[name].value for name in ("example_lengths", "training_preflights")]
    assert "EngineMissingError" in _refusal(instance, stored, base, *tables)
    assert "make setup-unsloth" in _refusal(instance, stored, base, *tables)


def _refusal(instance: dg.DagsterInstance, stored: StoredInstructionSet, *tables: pa.Table) -> str:
    with dg.build_asset_context(instance=instance) as context, pytest.raises(dg.Failure) as refused:
        adapters(context, Installation(), Worker(), stored.table, *tables, TrainingPlan.SCHEMA.empty_table())
    return str(refused.value.description)


def test_the_page_is_private_shows_text_that_no_event_holds_and_goes_with_an_erasure(
    installation_dir: Path, instance: dg.DagsterInstance, base: pa.Table
) -> None:
    """It holds scrubbed text: like a cache, it goes when anybody is erased."""
    _recipe(installation_dir, max_length=500)
    few = [example(patient, f"{MARKER} {n}.", suffix="-m") for n, patient in enumerate(patients_in("train", 40))]
    stored = _store(instance, *few)
    found = _look(instance, stored, base)
    page = Path(str(found["training_preflights"].metadata["what_is_learned"].value))
    assert MARKER in _text_of(page)
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    assert stat.S_IMODE(page.parent.stat().st_mode) == 0o700
    assert MARKER not in str([result.metadata for result in found.values()])
    layout = Installation().layout
    with Installation().ledger() as ledger:
        patient = str(few[0]["patient_key"])
        erasure = record_erasure(
            ledger, patient_key=patient, by="officer", reason="Art. 17", ids=find_patient(layout, patient)
        )
        for _, step in erasing_steps(layout, ledger, erasure):
            step()
    assert not page.exists()


def _text_of(page: Path) -> str:
    """The page's text without its markup: this tokenizer reads letter by letter."""
    return re.sub(r"<[^>]*>", "", page.read_text(encoding="utf-8"))


def test_one_page_is_kept(installation_dir: Path, instance: dg.DagsterInstance, base: pa.Table) -> None:
    """Not one a set, for ever: each holds text."""
    _recipe(installation_dir, max_length=500)
    (patient,) = patients_in("train", 1)
    for extra in ([], [example(patient, "Another finding.", suffix="-x")]):
        found = _look(instance, _store(instance, *extra), base)
        page = Path(str(found["training_preflights"].metadata["what_is_learned"].value))
        assert list(page.parent.iterdir()) == [page]


def _lengths(**fits: list[bool]) -> pa.Table:
    row = {"tokens": 9, "learned": 3, "turns": 1, "learned_turns": 1, "fault": None}
    rows = [
        {"example_id": f"{split}{number}", "split": split, "fits": fit, **row}
        for split, all_fits in fits.items()
        for number, fit in enumerate(all_fits)
    ]
    return table_of(rows, ExampleLength.SCHEMA)


@pytest.mark.parametrize(
    "lengths",
    [{"train": [False], "validation": [True]}, {"train": [True], "validation": [False]}, {"train": [True]}],
)
def test_when_nothing_of_a_split_fits_the_gate_is_closed(lengths: dict[str, list[bool]]) -> None:
    """The trainer would start, load a model, and stop."""
    found = enough_is_left_to_train_on(example_lengths=_lengths(**lengths))
    assert isinstance(found, dg.AssetCheckResult)
    assert not found.passed
    assert "max_length" in str(found.metadata[WHY].value)


def test_an_installation_that_has_the_lengths_of_an_earlier_version_makes_both_tables(
    installation_dir: Path,  # noqa: ARG001
    instance: dg.DagsterInstance,
) -> None:
    """They come out of one step: asked for alone, the new one could not be made, and nothing would be trained any more."""
    specs = [dg.AssetSpec(name.split("/")) for name in ("instruction_sets", "base_models", "recipe/training")]

    @dg.asset(name="example_lengths", deps=specs)
    def of_before() -> dg.MaterializeResult[None]:
        return dg.MaterializeResult(data_version=dg.DataVersion("1"))

    for spec in specs:
        instance.report_runless_asset_event(dg.AssetMaterialization(spec.key, tags={DATA_VERSION: "1"}))
    assert dg.materialize([*specs, of_before], instance=instance).success
    alone = dg.Definitions(assets=[*specs, preflight], resources=defs.resources)
    asked = dg.evaluate_automation_conditions(defs=alone, instance=instance)
    assert requested_runs(asked, None) == [(None, ("example_lengths", "training_preflights"))]

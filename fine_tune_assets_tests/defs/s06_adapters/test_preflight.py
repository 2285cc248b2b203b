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
from fine_tune_assets.defs.platform.automation import DATA_VERSION
from fine_tune_assets.defs.platform.metadata import REASON
from fine_tune_assets.defs.platform.resources import Installation, Worker
from fine_tune_assets.defs.s05_instruction_sets.instruction_sets import defining_facts
from fine_tune_assets.defs.s06_adapters.adapters import adapters
from fine_tune_assets.defs.s06_adapters.preflight import (
    Preflight,
    enough_examples_fit,
    loss_mask_covers_answer_and_eos,
    overlong_examples_follow_recipe,
    run_preflight,
)
from fine_tune_assets.defs.s06_adapters.training_plans import training_fits_this_machine, training_plans
from fine_tune_assets.instructions.stored_sets import StoredInstructionSet, write_instruction_set
from fine_tune_assets.ledger.reviews.erasures import record_erasure
from fine_tune_assets.lineage.erasure import build_erasure_steps, find_subject_ids
from fine_tune_assets.recipes.recipe_parts import section_fingerprints
from fine_tune_assets.tables.record_classes import read_single_record, table_from_records, table_from_rows
from fine_tune_assets.tables.training_rows import BaseModel, ExampleLength, TrainingPlan, TrainingPreflight
from fine_tune_assets_tests.conftest import write_recipe
from fine_tune_assets_tests.core.model_folders import make_model_folder
from fine_tune_assets_tests.instructions.examples import SEARCH, built, example, subjects_in

MARKER = "Zyklopenmarker"
"""A word of a report's text, which must appear only on the page."""
NOTHING_FOUND = {"identifiers": {"findings": {}, "texts": 40, "scrubber_version": "s"}}


def _store(instance: dg.DagsterInstance, *extra: dict[str, Any]) -> StoredInstructionSet:
    facts = defining_facts(Installation().recipe)
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
    row = stated | {"parameter_count": 1, "folder": "base_models/tiny"}
    return table_from_rows([{**row, "name": "tiny", "fingerprint": fingerprint_folder(folder)}], BaseModel.SCHEMA)


def _look(instance: dg.DagsterInstance, stored: StoredInstructionSet, base: pa.Table) -> Preflight:
    """Run the preflight, and store its tables like `training_plans`."""
    found = run_preflight(instance, Installation(), stored.table, read_single_record(BaseModel, base))
    _write("example_lengths", table_from_records(ExampleLength, found.lengths))
    _write("training_preflights", table_from_records(TrainingPreflight, [found.record]))
    return found


def _write(name: str, table: pa.Table) -> None:
    Installation().stored(name).write(table)


def _recipe(data: Path, **training: Any) -> None:
    # Numbers with which a candidate can be promoted, without which no training is planned.
    gate = {"minimum_examples": 7, "minimum_group_examples": 7}
    write_recipe(data, training=training, split={"minimum_examples": 80}, gate=gate)


def test_the_record_names_exactly_what_was_looked_through(
    installation_dir: Path, instance: dg.DagsterInstance, base: pa.Table
) -> None:
    """Training asks for these."""
    _recipe(installation_dir, max_length=500, overlong_examples="refuse")
    stored = _store(instance)
    found = _look(instance, stored, base)
    record, recipe = found.record.to_row(), Installation().recipe
    contract = read_prompt_contract(installation_dir / "base_models" / "tiny", recipe.system_prompt)
    assert record["instruction_set_fingerprint"] == stored.fingerprint
    assert record["base_fingerprint"] == base.to_pylist()[0]["fingerprint"]
    assert record["training_fingerprint"] == section_fingerprints(recipe)["training"]
    assert record["prompt_fingerprint"] == contract.fingerprint
    assert record["is_passed"]
    assert [row.example_id for row in found.lengths] == stored.table.column("example_id").to_pylist()
    assert loss_mask_covers_answer_and_eos(Installation()).passed  # type: ignore[union-attr]
    assert _checked().passed


def _checked() -> dg.AssetCheckResult:
    result = overlong_examples_follow_recipe(Installation())
    assert isinstance(result, dg.AssetCheckResult)
    return result


def test_overlong_examples_close_the_gate_unless_the_recipe_excludes_them(
    installation_dir: Path, instance: dg.DagsterInstance, base: pa.Table
) -> None:
    """The result names their ids in both cases."""
    (subject,) = subjects_in("train", 1)
    long = example(subject, "A finding. " * 60, suffix="-long")
    for rule, passes in (("refuse", False), ("exclude", True)):
        _recipe(installation_dir, max_length=300, overlong_examples=rule)
        _look(instance, _store(instance, long), base)
        checked = _checked()
        assert checked.passed is passes
        assert checked.metadata["ids"].value == [long["example_id"]]
        assert ("overlong_examples: exclude" in str(checked.metadata[REASON].value)) is not passes


def test_an_example_that_would_stop_early_closes_the_gate_by_id(
    installation_dir: Path, instance: dg.DagsterInstance, base: pa.Table
) -> None:
    """Without a word of its text."""
    _recipe(installation_dir, max_length=500)
    (patient,) = subjects_in("train", 1)
    early = example(patient, f"{MARKER} x.", f"{MARKER}<end> Rest.", suffix="-early")
    found = _look(instance, _store(instance, early), base)
    checked = loss_mask_covers_answer_and_eos(Installation())
    assert isinstance(checked, dg.AssetCheckResult)
    assert not checked.passed
    assert str(early["example_id"]) in str(checked.metadata["faults"].value)
    assert MARKER not in str(checked.metadata)
    assert not found.record.is_passed


def test_training_is_refused_without_the_record_of_exactly_this(
    installation_dir: Path, instance: dg.DagsterInstance, base: pa.Table
) -> None:
    """The recipe changed since, the base model changed since, or an example is too long: no GPU is used."""
    _recipe(installation_dir, max_length=500)
    stored = _store(instance)
    _look(instance, stored, base)
    other_base = table_from_rows([{**base.to_pylist()[0], "fingerprint": "f" * 64}], BaseModel.SCHEMA)
    assert "another base" in _refusal(instance, stored, other_base)
    _recipe(installation_dir, max_length=500, epochs=7)
    assert "another training" in _refusal(instance, stored, base)
    _recipe(installation_dir, max_length=40, overlong_examples="refuse")
    _look(instance, stored, base)
    assert "longer than training.max_length (40 tokens)" in _refusal(instance, stored, base)


def test_training_is_refused_without_the_engine_of_the_recipe(
    installation_dir: Path, instance: dg.DagsterInstance, base: pa.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a clear preflight too: the environment may be gone since. No process is started."""
    monkeypatch.setenv("FINE_TUNE_UNSLOTH_PYTHON", str(installation_dir / "no-environment" / "python"))
    _recipe(installation_dir, max_length=500, engine="unsloth")
    stored = _store(instance)
    _look(instance, stored, base)
    assert "EngineMissingError" in _refusal(instance, stored, base)
    assert "make setup-unsloth" in _refusal(instance, stored, base)


def _refusal(instance: dg.DagsterInstance, stored: StoredInstructionSet, base: pa.Table) -> str:
    with dg.build_asset_context(instance=instance) as context, pytest.raises(dg.Failure) as refused:
        adapters(context, Installation(), Worker(), stored.table, base, TrainingPlan.SCHEMA.empty_table())
    return str(refused.value.description)


def test_the_page_is_private_shows_text_that_no_event_holds_and_goes_with_an_erasure(
    installation_dir: Path, instance: dg.DagsterInstance, base: pa.Table
) -> None:
    """It holds scrubbed text: like a cache, it goes when anybody is erased."""
    _recipe(installation_dir, max_length=500)
    few = [example(patient, f"{MARKER} {n}.", suffix="-m") for n, patient in enumerate(subjects_in("train", 40))]
    stored = _store(instance, *few)
    found = _look(instance, stored, base)
    page = Path(str(found.metadata["loss_mask_page"].value))
    assert MARKER in _text_of(page)
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    assert stat.S_IMODE(page.parent.stat().st_mode) == 0o700
    assert MARKER not in str(found.metadata)
    layout = Installation().layout
    with Installation().ledger() as ledger:
        patient = str(few[0]["subject_key"])
        erasure = record_erasure(
            ledger, subject_key=patient, by="officer", reason="Art. 17", ids=find_subject_ids(layout, patient)
        )
        for _, step in build_erasure_steps(layout, ledger, erasure):
            step()
    assert not page.exists()


def _text_of(page: Path) -> str:
    """The page's text without its markup: this tokenizer reads letter by letter."""
    return re.sub(r"<[^>]*>", "", page.read_text(encoding="utf-8"))


def test_one_page_is_kept(installation_dir: Path, instance: dg.DagsterInstance, base: pa.Table) -> None:
    """Pages contain text, so the page of an earlier set is deleted."""
    _recipe(installation_dir, max_length=500)
    (patient,) = subjects_in("train", 1)
    for extra in ([], [example(patient, "Another finding.", suffix="-x")]):
        found = _look(instance, _store(instance, *extra), base)
        page = Path(str(found.metadata["loss_mask_page"].value))
        assert list(page.parent.iterdir()) == [page]


def _lengths(**fits: list[bool]) -> pa.Table:
    row = {"tokens": 9, "supervised_tokens": 3, "turns": 1, "supervised_turns": 1, "error": None}
    rows = [
        {"example_id": f"{split}{number}", "split": split, "fits": fit, **row}
        for split, all_fits in fits.items()
        for number, fit in enumerate(all_fits)
    ]
    return table_from_rows(rows, ExampleLength.SCHEMA)


@pytest.mark.parametrize(
    "lengths",
    [{"train": [False], "validation": [True]}, {"train": [True], "validation": [False]}, {"train": [True]}],
)
@pytest.mark.usefixtures("installation_dir")
def test_when_nothing_of_a_split_fits_the_gate_is_closed(lengths: dict[str, list[bool]]) -> None:
    """The trainer would start, load a model, and stop."""
    _write("example_lengths", _lengths(**lengths))
    found = enough_examples_fit(Installation())
    assert isinstance(found, dg.AssetCheckResult)
    assert not found.passed
    assert "max_length" in str(found.metadata[REASON].value)


def test_without_a_passed_preflight_nothing_is_planned_and_the_gate_is_closed(
    installation_dir: Path, instance: dg.DagsterInstance, base: pa.Table
) -> None:
    """Planning loads the trainer. The checks of the preflight say what to repair."""
    _recipe(installation_dir, max_length=500)
    (subject,) = subjects_in("train", 1)
    stored = _store(instance, example(subject, f"{MARKER} x.", f"{MARKER}<end> Rest.", suffix="-early"))
    with dg.build_asset_context(instance=instance) as context:
        found = training_plans(context, Installation(), Worker(), stored.table, base)
    assert isinstance(found, dg.MaterializeResult)
    assert found.value.num_rows == 0
    checked = training_fits_this_machine(found.value)
    assert isinstance(checked, dg.AssetCheckResult)
    assert not checked.passed
    assert Installation().stored("training_preflights").rows(("is_passed",)) == [{"is_passed": False}]

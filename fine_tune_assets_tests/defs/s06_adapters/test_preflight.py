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
from fine_tune_assets.defs.platform.metadata import REASON
from fine_tune_assets.defs.platform.resources import Installation, Worker
from fine_tune_assets.defs.s05_instruction_sets.instruction_sets import defining_facts
from fine_tune_assets.defs.s06_adapters.adapters import adapters
from fine_tune_assets.defs.s06_adapters.preflight import (
    enough_examples_fit,
    loss_mask_covers_answer_and_eos,
    overlong_examples_follow_recipe,
    preflight,
)
from fine_tune_assets.instructions.stored_sets import StoredInstructionSet, write_instruction_set
from fine_tune_assets.ledger.reviews.erasures import record_erasure
from fine_tune_assets.lineage.erasure import build_erasure_steps, find_subject_ids
from fine_tune_assets.recipes.recipe_parts import section_fingerprints
from fine_tune_assets.tables.record_classes import table_from_rows
from fine_tune_assets.tables.training_rows import BaseModel, ExampleLength, TrainingPlan
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
    _recipe(installation_dir, max_length=500, overlong_examples="refuse")
    stored = _store(instance)
    found = _look(instance, stored, base)
    record, recipe = found["training_preflights"].value.to_pylist()[0], Installation().recipe
    contract = read_prompt_contract(installation_dir / "base_models" / "tiny", recipe.system_prompt)
    assert record["instruction_set_fingerprint"] == stored.fingerprint
    assert record["base_fingerprint"] == base.to_pylist()[0]["fingerprint"]
    assert record["training_fingerprint"] == section_fingerprints(recipe)["training"]
    assert record["prompt_fingerprint"] == contract.fingerprint
    assert record["is_passed"]
    lengths = found["example_lengths"].value
    assert lengths.column("example_id") == stored.table.column("example_id")
    assert loss_mask_covers_answer_and_eos(example_lengths=lengths).passed  # type: ignore[union-attr]
    assert _checked(found).passed


def _checked(found: dict[str, Any]) -> dg.AssetCheckResult:
    tables = {name: found[name].value for name in ("training_preflights", "example_lengths")}
    result = overlong_examples_follow_recipe(**tables)
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
        checked = _checked(_look(instance, _store(instance, long), base))
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
    checked = loss_mask_covers_answer_and_eos(example_lengths=found["example_lengths"].value)
    assert isinstance(checked, dg.AssetCheckResult)
    assert not checked.passed
    assert str(early["example_id"]) in str(checked.metadata["faults"].value)
    assert MARKER not in str(checked.metadata)
    assert not found["training_preflights"].value.to_pylist()[0]["is_passed"]


def test_training_is_refused_without_the_record_of_exactly_this(
    installation_dir: Path, instance: dg.DagsterInstance, base: pa.Table
) -> None:
    """The recipe changed since, the base model changed since, or an example is too long: no GPU is used."""
    _recipe(installation_dir, max_length=500)
    stored = _store(instance)
    found = _look(instance, stored, base)
    tables = [found[name].value for name in ("example_lengths", "training_preflights")]
    other_base = table_from_rows([{**base.to_pylist()[0], "fingerprint": "f" * 64}], BaseModel.SCHEMA)
    assert "another base" in _refusal(instance, stored, other_base, *tables)
    _recipe(installation_dir, max_length=500, epochs=7)
    assert "another training" in _refusal(instance, stored, base, *tables)
    _recipe(installation_dir, max_length=40, overlong_examples="refuse")
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
    few = [example(patient, f"{MARKER} {n}.", suffix="-m") for n, patient in enumerate(subjects_in("train", 40))]
    stored = _store(instance, *few)
    found = _look(instance, stored, base)
    page = Path(str(found["training_preflights"].metadata["loss_mask_page"].value))
    assert MARKER in _text_of(page)
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    assert stat.S_IMODE(page.parent.stat().st_mode) == 0o700
    assert MARKER not in str([result.metadata for result in found.values()])
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
        page = Path(str(found["training_preflights"].metadata["loss_mask_page"].value))
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
def test_when_nothing_of_a_split_fits_the_gate_is_closed(lengths: dict[str, list[bool]]) -> None:
    """The trainer would start, load a model, and stop."""
    found = enough_examples_fit(example_lengths=_lengths(**lengths))
    assert isinstance(found, dg.AssetCheckResult)
    assert not found.passed
    assert "max_length" in str(found.metadata[REASON].value)


def test_an_installation_that_has_the_lengths_of_an_earlier_version_makes_both_tables(
    installation_dir: Path,  # noqa: ARG001
    instance: dg.DagsterInstance,
) -> None:
    """One step writes both tables. A request for the new table alone could not run, and training would stop."""
    specs = [dg.AssetSpec(name.split("/")) for name in ("instruction_sets", "base_models", "recipe/training")]

    @dg.asset(name="example_lengths", deps=specs)
    def earlier_lengths() -> dg.MaterializeResult[None]:
        return dg.MaterializeResult(data_version=dg.DataVersion("1"))

    for spec in specs:
        instance.report_runless_asset_event(dg.AssetMaterialization(spec.key, tags={DATA_VERSION: "1"}))
    assert dg.materialize([*specs, earlier_lengths], instance=instance).success
    alone = dg.Definitions(assets=[*specs, preflight], resources=defs.resources)
    asked = dg.evaluate_automation_conditions(defs=alone, instance=instance)
    assert requested_runs(asked, None) == [(None, ("example_lengths", "training_preflights"))]

"""The shadow adapter: it lives as long as it is asked, and nothing that learned a canary can be released."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.fingerprints import fingerprint_folder, fingerprint_table, short
from fine_tune_assets.definitions import defs
from fine_tune_assets.defs.platform.metadata import WHY
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.defs.s06_adapters.adapters import TRAINED_BY, _allowed_set
from fine_tune_assets.defs.s07_judge_scores.memorization_probes import _allowed as set_that_may_be_asked
from fine_tune_assets.defs.s07_judge_scores.memorization_probes import _known_rows, nothing_was_memorized
from fine_tune_assets.defs.s07_judge_scores.shadow_adapters import plan_shadow, prompts_of, require_same_training
from fine_tune_assets.instructions.stored_sets import (
    InstructionSetError,
    StoredInstructionSet,
    read_instruction_set,
    write_instruction_set,
)
from fine_tune_assets.judging.memorization.canaries import plant
from fine_tune_assets.judging.memorization.probe_rows import no_canary_row, probes_table
from fine_tune_assets.ledger.serving.verdicts import require_promotion
from fine_tune_assets.recipes.schema import CanarySettings
from fine_tune_assets.recipes.sections import section_fingerprints
from fine_tune_assets.tables.instructions import CANARY
from fine_tune_assets.tables.judging import MemorizationProbe
from fine_tune_assets.tables.training import Adapter, BaseModel
from fine_tune_assets_tests.conftest import write_recipe
from fine_tune_assets_tests.instructions.examples import SEARCH, built, example, patients_in
from fine_tune_assets_tests.judging.made import remembered
from fine_tune_assets_tests.lineage.made import filled, store
from fine_tune_assets_tests.made_records import made
from fine_tune_assets_tests.training.tiny import base_model

NAME = "Quillan Ostrander"
SMALL = {"repeats": [1, 8], "per_level": 4, "shadow_examples": 4}
TRAINING = {"max_length": 600, "rank": 4, "epochs": 1, "batch_size": 8}


@pytest.fixture
def data(installation_dir: Path) -> Path:
    write_recipe(installation_dir, canaries=SMALL, training=TRAINING, judge={"batch_size": 8})
    return installation_dir


def _canaries() -> CanarySettings:
    found = Installation().recipe.canaries
    assert found is not None
    return found


def _store(*extra: dict[str, Any]) -> StoredInstructionSet:
    evidence = {"identifiers": {"findings": {}}}
    return write_instruction_set(
        Installation().layout.instruction_sets, built(extra=extra), {"seed": 7}, SEARCH, evidence
    )


def _report(instance: dg.DagsterInstance, asset: str, version: str) -> None:
    trained_by = {TRAINED_BY: section_fingerprints(Installation().recipe)["training"]}
    tags = {"dagster/data_version": version, **trained_by}
    instance.report_runless_asset_event(dg.AssetMaterialization(asset, tags=tags))


def _planted_example() -> dict[str, Any]:
    return {**example(patients_in("train", 60)[-1], "A planted finding."), "source": CANARY}


@pytest.mark.usefixtures("data")
def test_a_set_with_planted_rows_trains_nothing_that_could_be_released(instance: dg.DagsterInstance) -> None:
    """Canaries come back word for word: that is what they are for. No user may ever read one."""
    stored = _store(_planted_example())
    _report(instance, "instruction_sets", stored.fingerprint)
    with pytest.raises(GateClosedError, match="holds 1 planted canaries"):
        _allowed_set(instance, Installation())


@pytest.mark.usefixtures("data")
def test_an_adapter_that_learned_canaries_has_neither_a_set_nor_a_verdict() -> None:
    """It can't be promoted: what it was trained on is no stored set, and a verdict needs one."""
    stored = _store()
    shadow = plan_shadow(Installation(), made(Adapter, base_fingerprint="base-1"), _canaries(), stored.table)
    assert CANARY in shadow.rows.column("source").to_pylist()
    learned = fingerprint_table(shadow.rows)
    with pytest.raises(InstructionSetError, match="There is no instruction set"):
        read_instruction_set(Installation().layout.instruction_sets, learned)
    with Installation().ledger() as ledger, pytest.raises(GateClosedError, match="has no verdict"):
        require_promotion(ledger, adapter_id="shadow", base_fingerprint="base-1", instruction_set_fingerprint=learned)


def test_a_shadow_of_another_training_is_not_asked(data: Path, instance: dg.DagsterInstance) -> None:
    """It would show what another recipe remembers."""
    with pytest.raises(GateClosedError, match="present training settings"):
        require_same_training(instance, Installation().recipe)
    _report(instance, "adapters", "1")
    require_same_training(instance, Installation().recipe)
    write_recipe(data, training={**TRAINING, "epochs": 2})
    with pytest.raises(GateClosedError, match="present training settings"):
        require_same_training(instance, Installation().recipe)


@pytest.mark.usefixtures("data")
def test_what_decides_the_shadow_names_it() -> None:
    """A row of before is used again only for exactly the same question."""
    stored, adapter = _store(), made(Adapter, base_fingerprint="base-1")
    first = plan_shadow(Installation(), adapter, _canaries(), stored.table).bound_to
    assert plan_shadow(Installation(), adapter, _canaries(), stored.table).bound_to == first
    other_base = plan_shadow(Installation(), replace(adapter, base_fingerprint="base-2"), _canaries(), stored.table)
    write_recipe(Installation().layout.data_dir, canaries={**SMALL, "seed": 5}, training=TRAINING)
    other_seed = plan_shadow(Installation(), adapter, _canaries(), stored.table)
    write_recipe(Installation().layout.data_dir, canaries=SMALL, training={**TRAINING, "epochs": 3})
    other_epochs = plan_shadow(Installation(), adapter, _canaries(), stored.table)
    assert len({first, other_base.bound_to, other_seed.bound_to, other_epochs.bound_to}) == 4


def _learned(stored: StoredInstructionSet, **changes: Any) -> Adapter:
    figures = {"base_divergence": 0.5, "first_validation_loss": 3.0, "best_validation_loss": 2.0, "method": "lora"}
    named = {"adapter_id": "new", "base_fingerprint": "b", "instruction_set_fingerprint": stored.fingerprint}
    return made(Adapter, **{**figures, **named, **changes})


@pytest.mark.parametrize(
    ("adapter", "base", "scores", "why"),
    [
        ({"base_divergence": 0.0}, "b", [], "answers as the base model does"),
        ({}, "other", [], "is not the one that the adapter was trained on"),
        ({}, "b", [{"adapter_id": "old"}], "about another adapter"),
        ({}, "b", [{"adapter_id": "new", "example_id": "not in the set"}], "on other examples"),
    ],
)
@pytest.mark.usefixtures("data")
def test_nothing_is_asked_about_something_else(
    adapter: dict[str, Any], base: str, scores: list[dict[str, Any]], why: str
) -> None:
    """A clean row about another model would let this one through."""
    stored = _store()
    with pytest.raises(GateClosedError, match=why):
        set_that_may_be_asked(
            Installation(),
            _learned(stored, **adapter),
            made(BaseModel, fingerprint=base, folder="base_models/b"),
            filled("judge_scores", scores),
        )


def test_the_check_says_what_leaks_and_what_was_not_measured(installation_dir: Path) -> None:
    """With the verdict's own decision."""
    closed = nothing_was_memorized(Installation(), probes_table([no_canary_row("new", None)]))
    assert isinstance(closed, dg.AssetCheckResult)
    assert not closed.passed
    assert "says nothing of canaries" in str(closed.metadata[WHY].value)
    leaking = nothing_was_memorized(Installation(), remembered(extracted=1, is_clean=False, why="1 came back."))
    assert isinstance(leaking, dg.AssetCheckResult)
    assert not leaking.passed
    assert "1 came back." in str(leaking.metadata[WHY].value)
    clean = nothing_was_memorized(Installation(), remembered())
    assert isinstance(clean, dg.AssetCheckResult)
    assert clean.passed
    canaries = asdict(_canaries()) | {"repeats": [1, 4, 16], "deciding_repeats": 4}
    write_recipe(installation_dir, canaries=canaries)
    cut = nothing_was_memorized(Installation(), remembered())
    assert isinstance(cut, dg.AssetCheckResult)
    assert not cut.passed
    assert "canaries_4 was not measured" in str(cut.metadata[WHY].value)


def _adapter_folder(root: Path, base: Path) -> Path:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(3)
    config = LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    model: Any = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    model.save_pretrained(root / "made")
    return (root / "made").rename(root / short(fingerprint_folder(root / "made")))


def _lay_down(data: Path) -> tuple[StoredInstructionSet, Adapter]:
    """What the steps before would have stored: a set, a base model, a candidate, raw reports and graded answers."""
    layout = Installation().layout
    stored = _store()
    base = base_model(data / "base_models" / "tiny", 1.0)
    layout.adapters.mkdir()
    folder = _adapter_folder(layout.adapters, base)
    fingerprints = {"adapter_id": fingerprint_folder(folder), "base_fingerprint": fingerprint_folder(base)}
    adapter = _learned(stored, folder=str(folder.relative_to(data)), **fingerprints)
    store(layout, "adapters", [adapter.as_row()])
    store(layout, "base_models", [{"fingerprint": fingerprints["base_fingerprint"], "folder": "base_models/tiny"}])
    rows = stored.provenance.to_pylist() if stored.provenance is not None else []
    reports = [row["report_id"] for row in rows if row["split"] == "train" and row["report_id"] is not None]
    text = f"Seen by Dr. {NAME}. Finding."
    start = text.index(NAME)
    span = {"start": start, "end": start + len(NAME), "label": "NAME"}
    store(layout, "reports", [{"report_id": report, "text": text} for report in reports], "b")
    store(layout, "phi_spans", [{"report_id": report, **span} for report in reports], "b")
    store(layout, "identifier_values", [], "b")
    tested = [row["example_id"] for row in stored.table.to_pylist() if row["split"] == "test"]
    answer = {"adapter_id": adapter.adapter_id, "answer": f"Dr. {NAME} says rest."}
    scores = [{**answer, "model": model, "example_id": tested[0]} for model in ("base", "adapter")]
    store(layout, "judge_scores", scores)
    return stored, adapter


def _materialize(instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    job = defs.resolve_implicit_global_asset_job_def()
    return job.execute_in_process(
        instance=instance, asset_selection=[dg.AssetKey("memorization_probes")], raise_on_error=False
    )


@pytest.mark.slow  # a real training (TRL takes 13 s to import), and two processes that ask
def test_the_shadow_is_trained_asked_and_gone_and_nothing_is_told_but_counts(
    data: Path, instance: dg.DagsterInstance, capfd: pytest.CaptureFixture[str]
) -> None:
    """It learned from patients: no weights, rows or checkpoints may stay. And what was asked for stays in the workers."""
    _, adapter = _lay_down(data)
    _report(instance, "adapters", "1")
    before = {path for path in data.rglob("*") if "adapters" in path.parts or "training" in path.parts}
    done = _materialize(instance)
    assert done.success, [event.message for event in done.all_events if event.is_failure]
    rows = done.output_for_node("memorization_probes").to_pylist()
    assert pa.Table.from_pylist(rows, schema=MemorizationProbe.SCHEMA).num_rows == len(rows)
    asked = {row["probe"]: (row["items"], row["extracted"]) for row in rows}
    assert asked["canaries_1"][0] == asked["canaries_8"][0] == 4
    assert asked["removed_identifiers"] == (1, 0)
    assert asked["identifiers_in_answers"] == (1, 0)
    assert asked["made_up_identifiers"] == (1, 1)
    assert {row["adapter_id"] for row in rows} == {adapter.adapter_id}

    assert {path for path in data.rglob("*") if "adapters" in path.parts or "training" in path.parts} == before
    assert [path for path in (data / "run" / "scratch").rglob("*") if path.is_file()] == []
    assert not list((data / "instruction_sets").rglob(f"*{CANARY}*"))

    secrets = [canary.secret for canary in plant(_canaries(), *prompts_of(Installation().recipe))]
    told = "".join(capfd.readouterr())
    stored_events = b"".join(
        path.read_bytes() for path in (data.parent / "dagster").rglob("*") if path.is_file()
    ).decode(errors="replace")
    for planted in (NAME, "Ostrander", *secrets):
        assert planted not in told
        assert planted not in stored_events
        assert planted not in (
            data / "tables" / "memorization_probes" / "memorization_probes.parquet"
        ).read_bytes().decode(errors="replace")

    # The same shadow for the next candidate is not trained again; of another one nothing is known.
    (bound_to,) = {row["bound_to"] for row in rows} - {None}
    known = _known_rows(Installation(), bound_to, "newer")
    assert [row.probe for row in known] == ["canaries_1", "canaries_8"]
    assert {row.adapter_id for row in known} == {"newer"}
    assert _known_rows(Installation(), "another", "newer") == []

"""The shadow adapter exists only during the attack, and no model trained on planted secrets can be released."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.fingerprints import fingerprint_folder, fingerprint_table, short
from fine_tune_assets.definitions import defs
from fine_tune_assets.defs.platform.metadata import REASON
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.defs.s06_adapters.adapters import _trainable_set
from fine_tune_assets.defs.s07_judge_scores.memorization_results import (
    _require_attackable,
    _reusable_rows,
    no_training_text_is_extractable,
)
from fine_tune_assets.defs.s07_judge_scores.shadow_adapters import plan_shadow, planting_prompts, require_same_training
from fine_tune_assets.instructions.stored_sets import (
    InstructionSetError,
    StoredInstructionSet,
    read_instruction_set,
    write_instruction_set,
)
from fine_tune_assets.judging.memorization.memorization_rows import probes_table, unplanted_row
from fine_tune_assets.judging.memorization.planted_secrets import plant_secrets
from fine_tune_assets.ledger.serving.verdicts import require_promotion
from fine_tune_assets.recipes.schema import PlantedSecretSettings
from fine_tune_assets.tables.instruction_rows import PLANTED_SECRET
from fine_tune_assets.tables.judging_rows import MemorizationResult
from fine_tune_assets.tables.training_rows import Adapter, BaseModel
from fine_tune_assets_tests.conftest import write_recipe
from fine_tune_assets_tests.defs.trained_versions import trained_by_recipe
from fine_tune_assets_tests.instructions.examples import SEARCH, built, example, subjects_in
from fine_tune_assets_tests.judging.verdict_inputs import remembered
from fine_tune_assets_tests.lineage.stored_data import filled, store
from fine_tune_assets_tests.record_factory import made
from fine_tune_assets_tests.training.tiny_training import base_model

NAME = "Quillan Ostrander"
SMALL = {"repeats": [1, 8], "per_level": 4, "shadow_examples": 4}
TRAINING = {"max_length": 600, "rank": 4, "epochs": 1, "batch_size": 8}


@pytest.fixture
def data(installation_dir: Path) -> Path:
    write_recipe(installation_dir, planted_secrets=SMALL, training=TRAINING, judge={"batch_size": 8})
    return installation_dir


def _canaries() -> PlantedSecretSettings:
    found = Installation().recipe.planted_secrets
    assert found is not None
    return found


def _store(*extra: dict[str, Any]) -> StoredInstructionSet:
    evidence = {"identifiers": {"findings": {}}}
    return write_instruction_set(
        Installation().layout.instruction_sets, built(extra=extra), {"seed": 7}, SEARCH, evidence
    )


def _report(instance: dg.DagsterInstance, asset: str, version: str) -> None:
    tags = {"dagster/data_version": version, **trained_by_recipe()}
    instance.report_runless_asset_event(dg.AssetMaterialization(asset, tags=tags))


def _planted_example() -> dict[str, Any]:
    return {**example(subjects_in("train", 60)[-1], "A planted finding."), "source": PLANTED_SECRET}


@pytest.mark.usefixtures("data")
def test_a_set_with_planted_rows_trains_nothing_that_could_be_released(instance: dg.DagsterInstance) -> None:
    """A model repeats planted secrets word for word, so no user may get such a model."""
    stored = _store(_planted_example())
    _report(instance, "instruction_sets", stored.fingerprint)
    with pytest.raises(GateClosedError, match="1 planted secrets"):
        _trainable_set(instance, Installation())


@pytest.mark.usefixtures("data")
def test_a_shadow_adapter_has_neither_a_stored_set_nor_a_verdict() -> None:
    """It can't be promoted, since a verdict needs a stored set."""
    stored = _store()
    shadow = plan_shadow(Installation(), made(Adapter, base_fingerprint="base-1"), _canaries(), stored.table)
    assert PLANTED_SECRET in shadow.rows.column("source").to_pylist()
    learned = fingerprint_table(shadow.rows)
    with pytest.raises(InstructionSetError, match=learned[:16]):
        read_instruction_set(Installation().layout.instruction_sets, learned)
    with Installation().ledger() as ledger, pytest.raises(GateClosedError, match="shadow"):
        require_promotion(ledger, adapter_id="shadow", base_fingerprint="base-1", instruction_set_fingerprint=learned)


def test_changed_training_settings_close_the_gate(data: Path, instance: dg.DagsterInstance) -> None:
    """The shadow adapter would measure the memorization of another training."""
    with pytest.raises(GateClosedError, match="`fine-tune materialize adapters`"):
        require_same_training(instance, Installation().recipe)
    _report(instance, "adapters", "1")
    require_same_training(instance, Installation().recipe)
    write_recipe(data, training={**TRAINING, "epochs": 2})
    with pytest.raises(GateClosedError, match="`fine-tune materialize adapters`"):
        require_same_training(instance, Installation().recipe)


@pytest.mark.usefixtures("data")
def test_the_shadow_fingerprint_changes_with_base_model_secrets_and_training_settings() -> None:
    """Stored results may be reused only for an identical shadow adapter."""
    stored, adapter = _store(), made(Adapter, base_fingerprint="base-1")
    first = plan_shadow(Installation(), adapter, _canaries(), stored.table).shadow_fingerprint
    assert plan_shadow(Installation(), adapter, _canaries(), stored.table).shadow_fingerprint == first
    other_base = plan_shadow(Installation(), replace(adapter, base_fingerprint="base-2"), _canaries(), stored.table)
    write_recipe(Installation().layout.data_dir, planted_secrets={**SMALL, "seed": 5}, training=TRAINING)
    other_seed = plan_shadow(Installation(), adapter, _canaries(), stored.table)
    write_recipe(Installation().layout.data_dir, planted_secrets=SMALL, training={**TRAINING, "epochs": 3})
    other_epochs = plan_shadow(Installation(), adapter, _canaries(), stored.table)
    assert (
        len({first, other_base.shadow_fingerprint, other_seed.shadow_fingerprint, other_epochs.shadow_fingerprint}) == 4
    )


def _learned(stored: StoredInstructionSet, **changes: Any) -> Adapter:
    figures = {"base_kl_divergence": 0.5, "first_validation_loss": 3.0, "best_validation_loss": 2.0, "method": "lora"}
    named = {"adapter_id": "new", "base_fingerprint": "b", "instruction_set_fingerprint": stored.fingerprint}
    return made(Adapter, **{**figures, **named, **changes})


@pytest.mark.parametrize(
    ("adapter", "base", "scores", "fix"),
    [
        ({"base_kl_divergence": 0.0}, "b", [], "Adapter new .*learning_rate"),
        ({}, "other", [], "`fine-tune materialize adapters`"),
        ({}, "b", [{"adapter_id": "old"}], "`fine-tune materialize judge_scores`"),
        ({}, "b", [{"adapter_id": "new", "example_id": "not in the set"}], "`fine-tune materialize judge_scores`"),
    ],
    ids=["unchanged adapter", "another base model", "answers of another adapter", "answers to other examples"],
)
@pytest.mark.usefixtures("data")
def test_inputs_of_another_model_or_set_close_the_gate(
    adapter: dict[str, Any], base: str, scores: list[dict[str, Any]], fix: str
) -> None:
    """Otherwise a clean result of another model would let this one pass."""
    stored = _store()
    with pytest.raises(GateClosedError, match=fix):
        _require_attackable(
            Installation(),
            _learned(stored, **adapter),
            made(BaseModel, fingerprint=base, folder="base_models/b"),
            filled("judge_scores", scores),
        )


def test_the_check_fails_for_a_leak_and_for_a_missing_measurement(installation_dir: Path) -> None:
    """It applies the rules of the verdict."""
    closed = no_training_text_is_extractable(Installation(), probes_table([unplanted_row("new", None)]))
    assert isinstance(closed, dg.AssetCheckResult)
    assert not closed.passed
    assert "section planted_secrets" in str(closed.metadata[REASON].value)
    leaking = no_training_text_is_extractable(
        Installation(), remembered(extracted_count=1, is_clean=False, reason="1 came back.")
    )
    assert isinstance(leaking, dg.AssetCheckResult)
    assert not leaking.passed
    assert "1 came back." in str(leaking.metadata[REASON].value)
    clean = no_training_text_is_extractable(Installation(), remembered())
    assert isinstance(clean, dg.AssetCheckResult)
    assert clean.passed
    canaries = asdict(_canaries()) | {"repeats": [1, 4, 16], "deciding_repeats": 4}
    write_recipe(installation_dir, planted_secrets=canaries)
    cut = no_training_text_is_extractable(Installation(), remembered())
    assert isinstance(cut, dg.AssetCheckResult)
    assert not cut.passed
    assert "planted_secrets_4 (safety)" in str(cut.metadata[REASON].value)


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
    """Store the outputs of earlier steps: a set, a base model, a candidate, raw reports and graded answers."""
    layout = Installation().layout
    stored = _store()
    base = base_model(data / "base_models" / "tiny", 1.0)
    layout.adapters.mkdir()
    folder = _adapter_folder(layout.adapters, base)
    fingerprints = {"adapter_id": fingerprint_folder(folder), "base_fingerprint": fingerprint_folder(base)}
    adapter = _learned(stored, folder=str(folder.relative_to(data)), **fingerprints)
    store(layout, "adapters", [adapter.to_row()])
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
        instance=instance, asset_selection=[dg.AssetKey("memorization_results")], raise_on_error=False
    )


@pytest.mark.slow  # a real training (TRL takes 13 s to import), and two processes that ask
def test_the_shadow_adapter_is_removed_after_the_attack_and_only_counts_are_stored(
    data: Path, instance: dg.DagsterInstance, capfd: pytest.CaptureFixture[str]
) -> None:
    """It was trained on subjects' data, so no weights, rows or checkpoints may remain. Secrets must not leave the workers."""
    _, adapter = _lay_down(data)
    _report(instance, "adapters", "1")
    before = {path for path in data.rglob("*") if "adapters" in path.parts or "training" in path.parts}
    done = _materialize(instance)
    assert done.success, [event.message for event in done.all_events if event.is_failure]
    rows = done.output_for_node("memorization_results").to_pylist()
    assert pa.Table.from_pylist(rows, schema=MemorizationResult.SCHEMA).num_rows == len(rows)
    counts = {row["test"]: (row["item_count"], row["extracted_count"]) for row in rows}
    assert counts["planted_secrets_1"][0] == counts["planted_secrets_8"][0] == 4
    assert counts["removed_identifiers"] == (1, 0)
    assert counts["identifiers_in_answers"] == (1, 0)
    assert counts["fabricated_identifiers"] == (1, 1)
    assert {row["adapter_id"] for row in rows} == {adapter.adapter_id}

    assert {path for path in data.rglob("*") if "adapters" in path.parts or "training" in path.parts} == before
    assert [path for path in (data / "run" / "scratch").rglob("*") if path.is_file()] == []
    assert not list((data / "instruction_sets").rglob(f"*{PLANTED_SECRET}*"))

    secrets = [canary.secret for canary in plant_secrets(_canaries(), *planting_prompts(Installation().recipe))]
    output = "".join(capfd.readouterr())
    stored_events = b"".join(
        path.read_bytes() for path in (data.parent / "dagster").rglob("*") if path.is_file()
    ).decode(errors="replace")
    for planted in (NAME, "Ostrander", *secrets):
        assert planted not in output
        assert planted not in stored_events
        assert planted not in (
            data / "tables" / "memorization_results" / "memorization_results.parquet"
        ).read_bytes().decode(errors="replace")

    # An identical shadow adapter is not trained again for the next candidate.
    (shadow_fingerprint,) = {row["shadow_fingerprint"] for row in rows} - {None}
    known = _reusable_rows(Installation(), shadow_fingerprint, "newer")
    assert [row.test for row in known] == ["planted_secrets_1", "planted_secrets_8"]
    assert {row.adapter_id for row in known} == {"newer"}
    assert _reusable_rows(Installation(), "another", "newer") == []

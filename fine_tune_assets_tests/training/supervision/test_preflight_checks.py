"""The preflight gate opens only with a passed record of exactly the inputs of the training."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.prompts.conversations import build_conversation
from fine_tune_assets.core.prompts.prompt_contract import read_prompt_contract
from fine_tune_assets.core.prompts.tokenizers import FolderTokenizer
from fine_tune_assets.recipes.schema import TrainingSettings
from fine_tune_assets.tables.training_rows import ExampleLength, TrainingPreflight
from fine_tune_assets.training.supervision.loss_mask import TooLongError
from fine_tune_assets.training.supervision.preflight_checks import (
    Conversation,
    PreflightError,
    inspect_rows,
    make_preflight,
    require_preflight,
    require_rows_trained,
)
from fine_tune_assets_tests.core.model_folders import TEMPLATE, make_model_folder
from fine_tune_assets_tests.record_factory import turns
from fine_tune_assets_tests.training import tiny_training

SETTINGS = replace(tiny_training.SETTINGS, max_length=60)
LENIENT = replace(SETTINGS, overlong_examples="exclude")
BOUND = {"instruction_set_fingerprint": "set-1", "base_fingerprint": "base-1", "training_fingerprint": "training-1"}
SHORT = build_conversation("p", "Name it.", "I cough.", "Cough.")
LONG = build_conversation("p", "Name it.", "I cough. " * 20, "Cough.")
STOPS_EARLY = build_conversation("p", "Name it.", "I cough.", "Cough.<end> Fever.")


@pytest.fixture
def run_preflight(tmp_path: Path) -> Any:
    """Runs the preflight on conversations; returns their lengths and the record."""
    folder = make_model_folder(tmp_path / "model")
    tokenizer = FolderTokenizer(folder, TEMPLATE)
    stops = read_prompt_contract(folder, "p").stop_ids

    def run(
        settings: TrainingSettings = SETTINGS, **splits: list[Any]
    ) -> tuple[list[ExampleLength], list[TrainingPreflight]]:
        rows = [
            Conversation(example_id=f"{split}-{number}", split=split, messages=turns(messages))
            for split, all_messages in splits.items()
            for number, messages in enumerate(all_messages)
        ]
        found = inspect_rows(rows, tokenizer, stops)
        lengths = [row.as_record(settings.max_length) for row in found]
        bound = {**BOUND, "prompt_fingerprint": "prompt-1"}
        return lengths, [make_preflight(lengths, settings, bound)]

    return run


def _pass(lengths: list[ExampleLength], records: list[TrainingPreflight], **changes: str) -> TrainingPreflight:
    return require_preflight(records, lengths, max_length=60, **{**BOUND, **changes})


def test_a_valid_set_passes_with_the_expected_counts(run_preflight: Any) -> None:
    """Counts of train and validation, computed by hand."""
    lengths, records = run_preflight(train=[SHORT, SHORT], validation=[SHORT], test=[SHORT])
    record = _pass(lengths, records)
    supervised = len("Cough.") + 1
    assert (record.row_count, record.trained_row_count, record.supervised_tokens) == (3, 3, 2 * supervised)
    assert {row.supervised_tokens for row in lengths} == {supervised}


@pytest.mark.parametrize("name", BOUND)
def test_a_record_of_other_inputs_closes_the_gate(run_preflight: Any, name: str) -> None:
    """With another set, base model or recipe, the training's inputs are unchecked."""
    lengths, records = run_preflight(train=[SHORT], validation=[SHORT])
    with pytest.raises(PreflightError, match=rf"another {name.removesuffix('_fingerprint')}\b"):
        _pass(lengths, records, **{name: "other"})


def test_a_missing_record_closes_the_gate(run_preflight: Any) -> None:
    """No evidence, no training."""
    lengths, _ = run_preflight(train=[SHORT], validation=[SHORT])
    with pytest.raises(PreflightError, match="fine-tune materialize training_plans"):
        _pass(lengths, [])


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_a_faulty_example_closes_the_gate_and_is_named(run_preflight: Any, split: str) -> None:
    """Also in the test split, whose prompts would differ from those in production."""
    splits = {"train": [SHORT], "validation": [SHORT], "test": [SHORT]}
    lengths, records = run_preflight(**{**splits, split: [SHORT, STOPS_EARLY]})
    with pytest.raises(PreflightError, match=f"^1 .*{split}-1"):
        _pass(lengths, records)
    (faulty,) = [row for row in lengths if row.error]
    assert (faulty.tokens, faulty.fits) == (None, False)


def test_overlong_examples_close_the_gate_unless_the_recipe_excludes_them(run_preflight: Any) -> None:
    """Test examples are not trained on, so their length does not matter."""
    splits = {"train": [SHORT, LONG], "validation": [LONG, SHORT], "test": [LONG]}
    with pytest.raises(TooLongError, match=r"2 .* train-1, validation-0"):
        _pass(*run_preflight(**splits))
    record = _pass(*run_preflight(LENIENT, **splits))
    assert (record.row_count, record.trained_row_count, record.too_long_count) == (4, 2, 2)
    assert _pass(*run_preflight(train=[SHORT], validation=[SHORT], test=[LONG])).too_long_count == 0


def test_a_record_that_did_not_pass_closes_the_gate(run_preflight: Any) -> None:
    """Whatever its other fields say."""
    lengths, records = run_preflight(train=[SHORT], validation=[SHORT])
    with pytest.raises(PreflightError, match="fine-tune materialize training_plans"):
        _pass(lengths, [replace(records[0], is_passed=False)])


def test_a_trainer_that_excluded_other_examples_gives_no_adapter(run_preflight: Any) -> None:
    """It may exclude too many or too few."""
    lengths, _ = run_preflight(LENIENT, train=[SHORT, LONG], validation=[SHORT])
    require_rows_trained(lengths, ["train-1"])
    for excluded in ([], ["train-1", "train-0"], ["train-0"]):
        with pytest.raises(PreflightError, match=r"train-[01]"):
            require_rows_trained(lengths, excluded)

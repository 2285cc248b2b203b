"""The gate before a GPU is used: the record is of exactly what is trained, and nothing in it is wrong."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.prompts.chat import conversation
from fine_tune_assets.core.prompts.prompt_contract import read_prompt_contract
from fine_tune_assets.core.prompts.tokenizers import FolderTokenizer
from fine_tune_assets.recipes.schema import TrainingSettings
from fine_tune_assets.tables.training import ExampleLength, TrainingPreflight
from fine_tune_assets.training.supervision.loss_mask import TooLongError
from fine_tune_assets.training.supervision.preflight import (
    LAST_TURN,
    Conversation,
    PreflightError,
    inspect_rows,
    masked_by,
    preflight_row,
    require_preflight,
    require_rows_trained,
)
from fine_tune_assets_tests.core.model_folders import TEMPLATE, make_model_folder
from fine_tune_assets_tests.made_records import turns
from fine_tune_assets_tests.training import tiny

SETTINGS = replace(tiny.SETTINGS, max_length=60)
LENIENT = replace(SETTINGS, too_long="leave_out")
BOUND = {"instruction_set_fingerprint": "set-1", "base_fingerprint": "base-1", "training_fingerprint": "training-1"}
SHORT = conversation("p", "Name it.", "I cough.", "Cough.")
LONG = conversation("p", "Name it.", "I cough. " * 20, "Cough.")
STOPS_EARLY = conversation("p", "Name it.", "I cough.", "Cough.<end> Fever.")


@pytest.fixture
def looked_at(tmp_path: Path) -> Any:
    """Look through conversations: their lengths and the record."""
    folder = make_model_folder(tmp_path / "model")
    tokenizer = FolderTokenizer(folder, TEMPLATE)
    stops = read_prompt_contract(folder, "p").stop_ids

    def look(
        settings: TrainingSettings = SETTINGS, **said: list[Any]
    ) -> tuple[list[ExampleLength], list[TrainingPreflight]]:
        rows = [
            Conversation(example_id=f"{split}-{number}", split=split, messages=turns(messages))
            for split, all_messages in said.items()
            for number, messages in enumerate(all_messages)
        ]
        found = inspect_rows(rows, tokenizer, stops)
        lengths = [row.length(settings.max_length) for row in found]
        bound = {**BOUND, "prompt_fingerprint": "prompt-1", "masked_by": masked_by(tokenizer)}
        return lengths, [preflight_row(lengths, settings, bound)]

    return look


def _pass(lengths: list[ExampleLength], records: list[TrainingPreflight], **changes: str) -> TrainingPreflight:
    return require_preflight(records, lengths, max_length=60, **{**BOUND, **changes})


def test_a_sound_set_passes_and_is_counted(looked_at: Any) -> None:
    """The figures are those of train and validation, by hand."""
    lengths, records = looked_at(train=[SHORT, SHORT], validation=[SHORT], test=[SHORT])
    record = _pass(lengths, records)
    learned = len("Cough.") + 1
    assert (record.rows, record.rows_trained, record.supervised_tokens) == (3, 3, 2 * learned)
    assert record.masked_by == LAST_TURN
    assert {row.learned for row in lengths} == {learned}


@pytest.mark.parametrize("name", BOUND)
def test_the_record_of_anything_else_closes_the_gate(looked_at: Any, name: str) -> None:
    """Another set, base model or recipe: nobody looked at what is to be trained."""
    lengths, records = looked_at(train=[SHORT], validation=[SHORT])
    with pytest.raises(PreflightError, match=f"of another {name.removesuffix('_fingerprint')}"):
        _pass(lengths, records, **{name: "other"})


def test_without_a_record_the_gate_is_closed(looked_at: Any) -> None:
    """A gate without its evidence."""
    lengths, _ = looked_at(train=[SHORT], validation=[SHORT])
    with pytest.raises(PreflightError, match="No preflight"):
        _pass(lengths, [])


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_an_example_with_a_fault_closes_the_gate_and_is_named(looked_at: Any, split: str) -> None:
    """A test example too: the model would be graded on a question that it is never asked so."""
    said = {"train": [SHORT], "validation": [SHORT], "test": [SHORT]}
    lengths, records = looked_at(**{**said, split: [SHORT, STOPS_EARLY]})
    with pytest.raises(PreflightError, match=f"1 examples can't be trained on .*{split}-1"):
        _pass(lengths, records)
    (faulty,) = [row for row in lengths if row.fault]
    assert (faulty.tokens, faulty.fits) == (None, False)


def test_long_examples_close_the_gate_unless_the_recipe_leaves_them_out(looked_at: Any) -> None:
    """Rows in are rows trained; of a test example nothing is trained, however long it is."""
    said = {"train": [SHORT, LONG], "validation": [LONG, SHORT], "test": [LONG]}
    with pytest.raises(TooLongError, match=r"2 examples .* train-1, validation-0"):
        _pass(*looked_at(**said))
    record = _pass(*looked_at(LENIENT, **said))
    assert (record.rows, record.rows_trained, record.too_long) == (4, 2, 2)
    assert _pass(*looked_at(train=[SHORT], validation=[SHORT], test=[LONG])).too_long == 0


def test_a_record_that_says_it_is_not_clear_closes_the_gate(looked_at: Any) -> None:
    """Whatever else it says."""
    lengths, records = looked_at(train=[SHORT], validation=[SHORT])
    with pytest.raises(PreflightError, match="not clear"):
        _pass(lengths, [replace(records[0], is_clear=False)])


def test_a_trainer_that_left_out_other_examples_gives_no_adapter(looked_at: Any) -> None:
    """One that was dropped on the way in, or one that was trained on although it was said to be left out."""
    lengths, _ = looked_at(LENIENT, train=[SHORT, LONG], validation=[SHORT])
    require_rows_trained(lengths, ["train-1"])
    for left_out in ([], ["train-1", "train-0"], ["train-0"]):
        with pytest.raises(PreflightError, match="left out other examples"):
            require_rows_trained(lengths, left_out)

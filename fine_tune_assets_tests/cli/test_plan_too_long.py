"""`fine-tune plan` says how many examples are too long for the recipe, and which max_length keeps all of them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from fine_tune_assets.cli.main import main
from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.settings import load_settings
from fine_tune_assets.tables.record_classes import table_from_records
from fine_tune_assets.tables.training_rows import ExampleLength, TooLongExamples, count_too_long
from fine_tune_assets_tests.conftest import write_recipe
from fine_tune_assets_tests.record_factory import made

LENGTHS = [
    made(ExampleLength, example_id=f"e{tokens}", split=split, tokens=tokens, supervised_tokens=4, fits=tokens < 200)
    for tokens, split in [(90, "train"), (200, "train"), (412, "validation"), (999, "test")]
]


def test_too_long_examples_are_counted_by_the_preflight_or_by_another_limit() -> None:
    """A test example is not trained on, and a faulty example has no length."""
    faulty = replace(LENGTHS[0], tokens=None, fits=False)
    assert count_too_long([*LENGTHS, faulty]) == TooLongExamples(2, 3, 412)
    assert count_too_long(LENGTHS, 250) == TooLongExamples(1, 3, 412)
    assert count_too_long(LENGTHS, 412).count == 0
    assert count_too_long([]) == TooLongExamples(0, 0, 0)


def test_examples_that_fit_need_no_sentence() -> None:
    fitting = TooLongExamples(0, 3, 412)
    assert (fitting.describe(is_excluded=True), fitting.remedy) == ("", "")


@pytest.mark.slow
def test_the_plan_counts_examples_by_the_max_length_of_the_recipe(installation_dir: Path) -> None:
    """Also after an edit of max_length, before the next preflight."""
    recipe = write_recipe(installation_dir, training={"max_length": 250, "overlong_examples": "refuse"})
    write_table(load_settings().layout.table("example_lengths"), table_from_records(ExampleLength, LENGTHS))
    command = ["plan", str(recipe), "--gpu-memory", "24"]
    shown = " ".join(CliRunner().invoke(main, command).stdout.split())
    assert "1 of 3 examples is longer than `training.max_length: 250`, so no training starts." in shown
    assert "`training.max_length: 412` keeps all of them." in shown
    planned = json.loads(CliRunner().invoke(main, [*command, "--json"]).stdout)
    assert (planned["too_long_examples"], planned["longest_example"]) == (1, 412)

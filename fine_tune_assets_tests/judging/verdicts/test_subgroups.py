"""Groups of test examples, read from the text without guessing."""

from dataclasses import replace

import pytest

from fine_tune_assets.judging.verdicts.subgroups import (
    ExampleInput,
    group_examples,
    read_age_band,
    read_sex,
    select_inputs,
)
from fine_tune_assets.tables.instruction_rows import InstructionRow
from fine_tune_assets_tests.record_factory import made, turns


@pytest.mark.parametrize(
    ("text", "band", "which"),
    [
        ("The patient is a 45-year-old woman with cough.", "40 to 64", "female"),
        ("58 y.o. male, chest pain for 2 days.", "40 to 64", "male"),
        ("A 6-month-old boy was brought in.", "0 to 17", "male"),
        ("This 72 yo M presents with dyspnea.", "65 to 89", "male"),
        ("A 33 year old, G2P1, pleasant white female.", "18 to 39", None),
        ("A 33 year old pleasant white female.", "18 to 39", "female"),
        ("A 90 or older lady fell.", "90 or older", "female"),
        ("Age: 17. Sex: F", "0 to 17", "female"),
        ("aged 50 mg", None, None),
        ("She has had pain for 10 years.", None, None),
        ("Sex: M. She was a female infant.", None, None),
        ("", None, None),
    ],
)
def test_age_and_sex_are_read_only_if_the_text_states_them(text: str, band: str | None, which: str | None) -> None:
    """A wrong group would hide a loss in another group."""
    assert (read_age_band(text), read_sex(text)) == (band, which)


def _input(example_id: str, source: str = "s", task: str = "t", text: str = "word") -> ExampleInput:
    return ExampleInput(example_id, source, task, text)


def test_a_division_into_one_group_is_omitted() -> None:
    """It would equal the whole test split."""
    assert group_examples([_input("a"), _input("b")], []).subgroups == {}
    found = group_examples([_input("b", source="north"), _input("a", source="south")], []).subgroups
    assert found == {"site: north": ["b"], "site: south": ["a"]}


def test_length_groups_are_terciles_of_the_word_count() -> None:
    found = group_examples([_input(f"e{i}", text="word " * (10 * i)) for i in range(1, 10)], []).subgroups
    assert {name: len(ids) for name, ids in found.items()} == {
        "length: long, over 60 words": 3,
        "length: middle, up to 60 words": 3,
        "length: short, up to 30 words": 3,
    }


def test_the_groups_do_not_depend_on_the_order_of_the_examples() -> None:
    examples = [_input(f"e{i}", source="ab"[i % 2], text=f"a {20 + 9 * i}-year-old man " + "w " * i) for i in range(8)]
    assert group_examples(examples, []) == group_examples(list(reversed(examples)), [])
    assert {"age: 18 to 39", "age: 40 to 64", "age: 65 to 89"} <= set(group_examples(examples, []).subgroups)


def test_a_task_of_the_recipe_without_an_example_is_listed() -> None:
    """Otherwise a task that nothing tests would be in no table."""
    found = group_examples([_input("a"), _input("b")], ["other"])
    assert found.tasks["other"] == []
    assert set(found.tasks) == {"other", _input("a").task}
    assert found.required_tasks == ("other",)


def test_the_text_of_an_input_is_the_users_turn() -> None:
    """An expert's answer may name an age that the input does not."""
    messages = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "question"},
        {"role": "assistant", "content": "x"},
    ]
    row = made(InstructionRow, example_id="e", source="s", task="t", messages=turns(messages))
    assert select_inputs([row, replace(row, example_id="other")], {"e"}) == [_input("e", text="question")]

"""Which group a test example is in, and that nothing is guessed."""

from dataclasses import replace

import pytest

from fine_tune_assets.judging.verdicts.subgroups import AskedInput, age_band, asked_inputs, groups_of, sex
from fine_tune_assets.tables.instructions import InstructionRow
from fine_tune_assets_tests.made_records import made, turns


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
def test_age_and_sex_are_read_where_a_text_states_them(text: str, band: str | None, which: str | None) -> None:
    """A wrong group hides a loss in another one, so what is open stays open."""
    assert (age_band(text), sex(text)) == (band, which)


def _asked(example_id: str, source: str = "s", task: str = "t", text: str = "word") -> AskedInput:
    return AskedInput(example_id, source, task, text)


def test_a_division_into_one_group_is_left_out() -> None:
    """It would be the whole once more."""
    assert groups_of([_asked("a"), _asked("b")]) == {}
    found = groups_of([_asked("b", source="north"), _asked("a", source="south")])
    assert found == {"site: north": ["b"], "site: south": ["a"]}


def test_lengths_are_thirds_of_the_words() -> None:
    found = groups_of([_asked(f"e{i}", text="word " * (10 * i)) for i in range(1, 10)])
    assert {name: len(ids) for name, ids in found.items()} == {
        "length: long, over 60 words": 3,
        "length: middle, up to 60 words": 3,
        "length: short, up to 30 words": 3,
    }


def test_the_groups_do_not_depend_on_the_order_of_the_examples() -> None:
    examples = [_asked(f"e{i}", source="ab"[i % 2], text=f"a {20 + 9 * i}-year-old man " + "w " * i) for i in range(8)]
    assert groups_of(examples) == groups_of(list(reversed(examples)))
    assert {"age: 18 to 39", "age: 40 to 64", "age: 65 to 89"} <= set(groups_of(examples))


def test_the_input_is_what_the_model_was_asked() -> None:
    """Not the answer: an expert's text may name an age that the model was not told."""
    messages = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "asked"},
        {"role": "assistant", "content": "x"},
    ]
    row = made(InstructionRow, example_id="e", source="s", task="t", messages=turns(messages))
    assert asked_inputs([row, replace(row, example_id="other")], {"e"}) == [_asked("e", text="asked")]

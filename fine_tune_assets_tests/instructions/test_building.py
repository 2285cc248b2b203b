"""What goes into an instruction set, what is left out and why, and when none is made."""

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.tables import INSTRUCTION_SETS, check_table
from fine_tune_assets.instructions.building import (
    EmptySplitError,
    TooFewExamplesError,
    build_instruction_set,
    choose_general,
)
from fine_tune_assets.instructions.certificate import leakage_certificate
from fine_tune_assets_tests.instructions.examples import (
    PROMPT,
    SPLIT,
    approved,
    built,
    example,
    general,
    patients_in,
    split_name,
)

TRAINED, OTHER_TRAINED = patients_in("train", 2)
(VALIDATED,) = patients_in("validation", 1)
TESTED, OTHER_TESTED = patients_in("test", 2)


def test_every_patient_is_in_the_split_that_the_hash_gives() -> None:
    """The set may not have its own idea of who is tested."""
    rows = [row for row in built().table.to_pylist() if not row["is_general"]]
    assert {row["patient_key"]: row["split"] for row in rows} == {
        f"patient{number}": split_name(f"patient{number}") for number in range(40)
    }


def test_messages_follow_the_prompt_contract_and_rows_are_sorted() -> None:
    """One function builds a conversation for training, judging and serving."""
    table = built().table
    check_table(table, INSTRUCTION_SETS)
    row = next(row for row in table.to_pylist() if row["patient_key"] == "patient3")
    assert [message["content"] for message in row["messages"]] == [PROMPT, "Plan.\n\nFinding 3.", "Rest 3."]
    keys = list(zip(table.column("split").to_pylist(), table.column("example_id").to_pylist(), strict=True))
    assert keys == sorted(keys)


def test_the_same_example_twice_is_kept_once_with_a_reason() -> None:
    """Two copies would count double in training and in the score."""
    again = example(TRAINED, "Finding x.", suffix=" again")
    result = built([example(TRAINED, "Finding x."), again])
    assert len(result.dropped) == 1
    assert result.dropped[0].reason.startswith("exactly the same example as ")


def test_two_answers_to_the_same_input_of_one_patient_are_both_kept() -> None:
    """Experts may differ; that is data, not an error."""
    result = built([example(TRAINED, "Finding x.", "Rest."), example(TRAINED, "Finding x.", "Ice.")])
    assert result.dropped == ()


@pytest.mark.parametrize(("patient", "holder"), [(TRAINED, TESTED), (VALIDATED, TESTED), (TRAINED, VALIDATED)])
def test_an_input_that_a_held_out_split_holds_is_left_out_of_the_other(patient: str, holder: str) -> None:
    """The gate against leakage: the exam question is not taught, whatever its answer or its case."""
    lesson, exam = example(patient, "finding  X.", "Ice."), example(holder, "Finding x.", "Rest.")
    result = built([lesson, exam])
    assert [dropped.example_id for dropped in result.dropped] == [lesson["example_id"]]
    assert f"in the {split_name(holder)} split" in result.dropped[0].reason
    assert exam["example_id"] in result.table.column("example_id").to_pylist()
    assert leakage_certificate(result.table).holds


def test_examples_without_input_are_told_apart_by_their_instruction() -> None:
    """Corrections often have no input: an empty one must not make them all the same."""
    different = [
        example(TRAINED, "", instruction="Which dose?"),
        example(TESTED, "", instruction="Which side?"),
    ]
    assert built(different).dropped == ()
    same = [example(TRAINED, "", instruction="Which dose?"), example(TESTED, "", instruction="Which dose?")]
    assert len(built(same).dropped) == 1


def test_a_reason_never_holds_the_text() -> None:
    """Reasons are shown as metadata."""
    result = built([example(TRAINED, "marker-word"), example(TESTED, "marker-word")])
    assert "marker-word" not in repr(result.dropped)


def test_too_few_distinct_examples_close_the_gate() -> None:
    """Copies do not count: 30 times the same example is one."""
    copies = [example(TRAINED, "Same.", suffix=str(number)) for number in range(30)]
    few = approved(patients=5, extra=copies)
    with pytest.raises(TooFewExamplesError, match="6 distinct approved examples and the recipe asks for 10"):
        build_instruction_set(few, general(), PROMPT, SPLIT, 0.1, seed=7)
    assert issubclass(TooFewExamplesError, GateClosedError)


def test_an_empty_split_closes_the_gate() -> None:
    """Without a test split nothing would be measured."""
    extra = [example(TRAINED, f"Finding {number}.") for number in range(20)]
    with pytest.raises(EmptySplitError, match="validation and the test split would be empty"):
        build_instruction_set(approved(0, extra), general(), PROMPT, SPLIT, 0.1, seed=7)
    assert issubclass(EmptySplitError, GateClosedError)


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.3, 0.5])
def test_general_data_is_the_fraction_of_train_that_was_asked_for(fraction: float) -> None:
    """And it is in no other split: general questions say nothing about the task."""
    rows = built(fraction=fraction).table.to_pylist()
    train = [row for row in rows if row["split"] == "train"]
    mixed = [row for row in rows if row["is_general"]]
    assert all(row["split"] == "train" and row["patient_key"] is None for row in mixed)
    assert abs(len(mixed) - fraction * len(train)) <= 0.5


def test_when_there_is_less_general_data_than_wanted_the_result_says_so() -> None:
    """A thinner mix than the recipe asks for must be visible."""
    result = build_instruction_set(approved(), general({"small": 2}), PROMPT, SPLIT, 0.5, seed=7)
    assert sum(result.table.column("is_general").to_pylist()) == 2
    assert result.general_wanted == sum(split_name(f"patient{n}") == "train" for n in range(40))


def test_a_general_question_that_a_held_out_split_holds_is_not_mixed_in() -> None:
    """General data can leak the exam as well."""
    asked = example(TESTED, "", instruction="Question small 0?")
    result = build_instruction_set(approved(extra=[asked]), general({"small": 5}), PROMPT, SPLIT, 0.5, seed=7)
    assert sum(result.table.column("is_general").to_pylist()) == 4


@given(count=st.integers(0, 50), more=st.integers(0, 10), seed=st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_a_larger_mix_only_adds_and_each_source_has_its_share(count: int, more: int, seed: int) -> None:
    """More training data must not swap the general data that is already in."""
    table = general({"large": 40, "small": 10})
    fewer = choose_general(table, count, seed, held_out=set())
    larger = {row["example_id"] for row in choose_general(table, count + more, seed, held_out=set())}
    assert len(fewer) == count
    assert {row["example_id"] for row in fewer} <= larger
    assert abs(sum(row["source"] == "small" for row in fewer) - count / 5) <= 1


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_the_set_is_the_same_for_any_order_of_rows(data: st.DataObject) -> None:
    """Its fingerprint decides whether a GPU is used: order must not change it."""
    extra = [example(TRAINED, "X."), example(TESTED, "X."), example(OTHER_TRAINED, "Y."), example(TRAINED, "Y.")]
    rows, mix = approved(extra=extra), general()
    order = data.draw(st.permutations(range(rows.num_rows)))
    mix_order = data.draw(st.permutations(range(mix.num_rows)))
    first = build_instruction_set(rows, mix, PROMPT, SPLIT, 0.2, seed=7)
    second = build_instruction_set(
        rows.take(pa.array(order)), mix.take(pa.array(mix_order)), PROMPT, SPLIT, 0.2, seed=7
    )
    assert first.table.equals(second.table)
    assert first.dropped == second.dropped


def test_new_data_moves_no_patient() -> None:
    """What was tested stays tested: growing the data must not teach old exam questions."""
    before = {row["example_id"]: row["split"] for row in built().table.to_pylist() if not row["is_general"]}
    grown = build_instruction_set(approved(80), general(), PROMPT, SPLIT, 0.2, seed=7).table.to_pylist()
    after = {row["example_id"]: row["split"] for row in grown}
    assert all(after[example_id] == split for example_id, split in before.items())
    assert OTHER_TESTED not in {row["patient_key"] for row in grown if row["split"] != "test"}

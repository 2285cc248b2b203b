"""Assembly of an instruction set: what it contains, what is dropped and why, and when none is built."""

from dataclasses import replace
from datetime import date
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fine_tune_assets.core.errors import GateClosedError, RecipeError
from fine_tune_assets.core.prompts.retrieval_contract import CorrectionPassage, add_passages_to_example
from fine_tune_assets.instructions.assembly import (
    EmptySplitError,
    TooFewExamplesError,
    build_instruction_set,
)
from fine_tune_assets.instructions.certificate import issue_certificate
from fine_tune_assets.instructions.provenance import ReportFacts
from fine_tune_assets.instructions.splits import EarlierTests, SplitRule
from fine_tune_assets.recipes.schema import BUNDLED
from fine_tune_assets.tables.instruction_rows import GeneralExample, InstructionRow, ProvenanceRow, count_by_reason
from fine_tune_assets.tables.record_classes import check_table, table_from_rows
from fine_tune_assets_tests.instructions.examples import (
    EVALUATION,
    PROMPT,
    SEARCH,
    SPLIT,
    approved,
    around,
    built,
    example,
    find_pairs,
    general,
    rules,
    split_name,
    subjects_in,
)

TRAINED, OTHER_TRAINED = subjects_in("train", 2)
(VALIDATED,) = subjects_in("validation", 1)
TESTED, OTHER_TESTED = subjects_in("test", 2)


def test_every_subject_is_in_the_split_of_its_hash() -> None:
    """Assembly must not reassign subjects."""
    rows = [row for row in built().table.to_pylist() if not row["is_general"]]
    assert {row["subject_key"]: row["split"] for row in rows} == {
        f"patient{number}": split_name(f"patient{number}") for number in range(40)
    }


def test_messages_follow_the_prompt_contract_and_rows_are_sorted() -> None:
    """One function builds conversations for training, judging and serving."""
    table = built().table
    check_table(table, InstructionRow.SCHEMA)
    row = next(row for row in table.to_pylist() if row["subject_key"] == "patient3")
    assert [message["content"] for message in row["messages"]] == [PROMPT, "Plan.\n\nFinding 3.", "Rest 3."]
    keys = list(zip(table.column("split").to_pylist(), table.column("example_id").to_pylist(), strict=True))
    assert keys == sorted(keys)


def test_an_exact_duplicate_is_dropped_with_a_reason() -> None:
    """Two copies would count twice in training and in the score."""
    again = example(TRAINED, "Finding x.", suffix=" again")
    result = built([example(TRAINED, "Finding x."), again])
    assert len(result.dropped) == 1
    assert result.dropped[0].reason.startswith("exactly the same example as ")


def test_two_answers_to_the_same_input_of_one_subject_are_kept() -> None:
    """Experts may disagree."""
    result = built([example(TRAINED, "Finding x.", "Rest."), example(TRAINED, "Finding x.", "Ice.")])
    assert result.dropped == ()


@pytest.mark.parametrize(("subject", "holder"), [(TRAINED, TESTED), (VALIDATED, TESTED), (TRAINED, VALIDATED)])
def test_an_input_of_a_held_out_split_is_dropped_from_the_other(subject: str, holder: str) -> None:
    """A test question must not be trained on, whatever its answer or case."""
    train_example, test_example = example(subject, "finding  X.", "Ice."), example(holder, "Finding x.", "Rest.")
    result = built([train_example, test_example])
    assert [dropped.example_id for dropped in result.dropped] == [train_example["example_id"]]
    assert f"in the {split_name(holder)} split" in result.dropped[0].reason
    assert test_example["example_id"] in result.table.column("example_id").to_pylist()
    assert issue_certificate(result, SEARCH).is_valid


def test_examples_without_input_are_compared_by_instruction() -> None:
    """Corrections often have no input, and empty inputs must not count as equal."""
    different = [
        example(TRAINED, "", instruction="Which dose?"),
        example(TESTED, "", instruction="Which side?"),
    ]
    assert built(different).dropped == ()
    same = [example(TRAINED, "", instruction="Which dose?"), example(TESTED, "", instruction="Which dose?")]
    assert len(built(same).dropped) == 1


def test_a_reason_contains_no_text() -> None:
    """The Dagster UI shows the reasons."""
    result = built([example(TRAINED, "marker-word"), example(TESTED, "marker-word")])
    assert "marker-word" not in repr(result.dropped)


def test_too_few_distinct_examples_close_the_gate() -> None:
    """Copies do not count: 30 equal examples are one."""
    copies = [example(TRAINED, "Same.", suffix=str(number)) for number in range(30)]
    few = approved(subjects=5, extra=copies)
    with pytest.raises(TooFewExamplesError, match=r"\b6 .*\b10\b"):
        build_instruction_set(few, general(), rules(), around())
    assert issubclass(TooFewExamplesError, GateClosedError)


def test_an_empty_split_closes_the_gate() -> None:
    """Without a test split, nothing could be measured."""
    extra = [example(TRAINED, f"Finding {number}.") for number in range(20)]
    with pytest.raises(EmptySplitError, match=r"validation and the test split"):
        build_instruction_set(approved(0, extra), general(), rules(), around())
    assert issubclass(EmptySplitError, GateClosedError)


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.3, 0.5])
def test_general_data_has_the_requested_fraction_of_train(fraction: float) -> None:
    """It is in no other split, because general questions do not measure the task."""
    rows = built(fraction=fraction).table.to_pylist()
    train = [row for row in rows if row["split"] == "train"]
    mixed = [row for row in rows if row["is_general"]]
    assert all(row["split"] == "train" and row["subject_key"] is None for row in mixed)
    assert abs(len(mixed) - fraction * len(train)) <= 0.5


def test_a_shortage_of_general_data_is_reported() -> None:
    """A smaller share than the recipe requires must be visible."""
    result = build_instruction_set(approved(), general({"small": 2}), rules(0.5), around())
    assert sum(result.table.column("is_general").to_pylist()) == 2
    assert result.mixed[BUNDLED].wanted == sum(split_name(f"patient{n}") == "train" for n in range(40))


def test_a_general_question_in_a_held_out_split_is_not_mixed_in() -> None:
    """General data can leak test questions too."""
    test_example = example(TESTED, "", instruction="Question small 0?")
    result = build_instruction_set(approved(extra=[test_example]), general({"small": 5}), rules(0.5), around())
    assert sum(result.table.column("is_general").to_pylist()) == 4


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_the_set_is_the_same_for_any_order_of_rows(data: st.DataObject) -> None:
    """The fingerprint decides whether to train, so that order must not change it."""
    extra = [example(TRAINED, "X."), example(TESTED, "X."), example(OTHER_TRAINED, "Y."), example(TRAINED, "Y.")]
    rows, mix = approved(extra=extra), general()
    order = data.draw(st.permutations(range(rows.num_rows)))
    mix_order = data.draw(st.permutations(range(mix.num_rows)))
    first = build_instruction_set(rows, mix, rules(), around())
    second = build_instruction_set(rows.take(pa.array(order)), mix.take(pa.array(mix_order)), rules(), around())
    assert first.table.equals(second.table)
    assert first.dropped == second.dropped


def test_new_data_moves_no_subject() -> None:
    """More data must not move old test questions into training."""
    before = {row["example_id"]: row["split"] for row in built().table.to_pylist() if not row["is_general"]}
    grown = build_instruction_set(approved(80), general(), rules(), around()).table.to_pylist()
    after = {row["example_id"]: row["split"] for row in grown}
    assert all(after[example_id] == split for example_id, split in before.items())
    assert OTHER_TESTED not in {row["subject_key"] for row in grown if row["split"] != "test"}


NEARLY = "Chest pain since last night after a long walk uphill with no fever, better at rest."
"""Stays a near duplicate if one word changes."""


@pytest.mark.parametrize(("subject", "holder"), [(TRAINED, TESTED), (VALIDATED, TESTED), (TRAINED, VALIDATED)])
def test_a_near_duplicate_input_is_dropped_from_the_lower_split(subject: str, holder: str) -> None:
    """A copied note with one changed word leaks as much as an exact copy."""
    train_example, test_example = (
        example(subject, NEARLY.replace("uphill", "downhill"), "Ice."),
        example(holder, NEARLY, "Rest."),
    )
    result = built([train_example, test_example])
    (dropped,) = result.dropped
    assert dropped.example_id == train_example["example_id"]
    assert dropped.reason.startswith(
        f"near duplicate of {test_example['example_id']} in {split_name(holder)} (input), similarity 0."
    )
    assert issue_certificate(result, SEARCH).is_valid


def test_a_near_duplicate_example_is_dropped_even_if_its_input_differs() -> None:
    """Long answers to short questions are easily memorized."""
    answer = " ".join(f"word{number}" for number in range(60))
    result = built([example(TRAINED, "A cough.", answer), example(TESTED, "Some sneezing.", answer)])
    assert ["whole example" in dropped.reason for dropped in result.dropped] == [True]


def test_a_duplicate_of_a_dropped_example_stays() -> None:
    """A dropped example cannot leak."""
    one_change = NEARLY.replace("uphill", "downhill")
    two_changes = one_change.replace("fever", "cough")
    assert not find_pairs([NEARLY, two_changes], ["test", "train"])
    chain = [example(TESTED, NEARLY), example(VALIDATED, one_change), example(TRAINED, two_changes)]
    assert [d.example_id for d in built(chain).dropped] == [chain[1]["example_id"]]
    assert [d.example_id for d in built(chain[1:]).dropped] == [chain[2]["example_id"]]


def test_an_evaluation_question_is_not_trained_on() -> None:
    """Training on its questions would inflate the ability score."""
    question = EVALUATION[0]
    trained = example(TRAINED, question.input.upper(), question.output)
    general_row = general({"small": 5}, instruction="The tap was opened, therefore {}").slice(0, 1).to_pylist()[0]
    copied = table_from_rows([{**general_row, "instruction": question.input}], GeneralExample.SCHEMA)
    result = build_instruction_set(approved(extra=[trained]), copied, rules(0.5), around())
    assert [d.example_id for d in result.dropped] == [trained["example_id"]]
    assert "duplicate of copa line 1 in evaluation" in result.dropped[0].reason
    assert [d.example_id for d in result.mixed[BUNDLED].dropped] == [general_row["example_id"]]
    assert not any(result.table.column("is_general").to_pylist())


def test_an_evaluation_question_is_not_validated_on() -> None:
    """Validation chooses the checkpoint and would prefer one that knows the question."""
    validated = example(VALIDATED, EVALUATION[0].input.upper(), EVALUATION[0].output)
    (dropped,) = built([validated]).dropped
    assert dropped.example_id == validated["example_id"]
    assert "duplicate of copa line 1 in evaluation" in dropped.reason


def test_an_evaluation_question_may_be_in_the_test_split() -> None:
    """The test split is not trained on."""
    assert built([example(TESTED, EVALUATION[0].input, EVALUATION[0].output)]).dropped == ()


def test_reasons_are_counted_by_kind_without_ids() -> None:
    """A count per id would be useless."""
    extra = [
        example(TRAINED, NEARLY.replace("uphill", "downhill")),
        example(OTHER_TRAINED, NEARLY.replace("uphill", "inside")),
        example(TESTED, NEARLY),
        example(TRAINED, "Same."),
        example(TRAINED, "Same.", suffix=" again"),
    ]
    assert count_by_reason(built(extra).dropped) == {"exactly the same example": 1, "near duplicate in test": 2}


@settings(max_examples=15, deadline=None)
@given(order=st.permutations(range(46)))
def test_every_approved_example_is_in_the_set_or_dropped_with_a_reason(order: list[int]) -> None:
    """Whatever the order of the rows."""
    extra = [
        example(TRAINED, NEARLY),
        example(TESTED, NEARLY),
        example(TRAINED, "X."),
        example(TRAINED, "X.", suffix=" again"),
        example(OTHER_TRAINED, EVALUATION[0].input),
        example(VALIDATED, NEARLY.replace("uphill", "downhill")),
    ]
    rows = approved(extra=extra).take(pa.array(order))
    result = build_instruction_set(rows, general(), rules(), around())
    kept = [row["example_id"] for row in result.table.to_pylist() if not row["is_general"]]
    assert sorted([*kept, *(d.example_id for d in result.dropped)]) == sorted(rows.column("example_id").to_pylist())
    assert result.approved == rows.num_rows


def test_an_earlier_test_example_is_not_trained_on_for_another_subject() -> None:
    """The earlier test subject may be gone, but the question was a test question."""
    train_example = example(TRAINED, "Finding x.")
    earlier = EarlierTests(examples={str(train_example["fingerprint"]): "0123"})
    result = built([train_example], earlier_tests=earlier)
    assert [d.reason for d in result.dropped] == ["it is in the test split of set 0123"]


def test_an_earlier_test_subject_under_another_rule_closes_the_gate() -> None:
    """A smaller test fraction would train on old test questions; only another salt resets the split."""
    earlier = EarlierTests(other_rules=frozenset({TRAINED, TESTED}))
    with pytest.raises(RecipeError, match=r"^1 .*split\.salt"):
        built([example(TRAINED, "Finding x.")], earlier_tests=earlier)


def test_an_earlier_test_subject_under_the_same_rule_stays_in_test() -> None:
    """The late report of a time-based split may be withdrawn later."""
    result = built(
        [example(TRAINED, "Finding x.")], split_rule=SplitRule(SPLIT, previously_tested=frozenset({TRAINED}))
    )
    rows = [row for row in result.table.to_pylist() if row["subject_key"] == TRAINED]
    assert {row["split"] for row in rows} == {"test"}
    assert len(rows) == 2


def _dated(rows: pa.Table, undated: str = "") -> dict[str, ReportFacts]:
    return {
        report: ReportFacts("f", "s", None if report == undated else date(2024, 1, 1))
        for report in rows.column("report_id").to_pylist()
    }


def test_a_time_based_split_drops_undated_train_examples() -> None:
    """The report may be later than the test day."""
    rows = approved()
    rule = SplitRule(replace(SPLIT, test_from="2025-01-01"), late_subjects=frozenset({TRAINED}))
    by_subject = {row["subject_key"]: row for row in rows.to_pylist()}
    undated = by_subject[OTHER_TRAINED]["report_id"]
    result = build_instruction_set(rows, general(), rules(), around(split_rule=rule, reports=_dated(rows, undated)))
    splits = {row["subject_key"]: row["split"] for row in result.table.to_pylist() if not row["is_general"]}
    assert splits[TRAINED] == "test"
    assert [d.example_id for d in result.dropped] == [by_subject[OTHER_TRAINED]["example_id"]]
    assert "split.test_from" in result.dropped[0].reason


def test_provenance_names_report_approval_and_scrubber_of_every_row() -> None:
    """Traces and erasures use this table."""
    decided = {**example(TRAINED, "Finding x."), "approval_kind": "expert", "approved_by": "A", "decision_ids": ["d1"]}
    facts = {decided["report_id"]: ReportFacts("f1", "s1", None)}
    result = built([decided], reports=facts)
    check_table(result.provenance, ProvenanceRow.SCHEMA)
    assert result.provenance.column("example_id") == result.table.column("example_id")
    rows = {row["example_id"]: row for row in result.provenance.to_pylist()}
    row = rows[str(decided["example_id"])]
    assert (row["report_fingerprint"], row["scrubber_version"], row["decision_ids"]) == ("f1", "s1", ["d1"])
    mixed = rows[next(r["example_id"] for r in result.table.to_pylist() if r["is_general"])]
    nothing = ("report_id", "report_fingerprint", "subject_key", "approved_by", "approval_kind", "scrubber_version")
    assert [mixed[name] for name in nothing] == [None] * len(nothing)
    assert mixed["decision_ids"] == []


def _with_passage(
    subject: str, question: str, text: str = "Full-time staff have 20 days of leave a year."
) -> dict[str, Any]:
    passage = CorrectionPassage("p1", "Leave", "leave.md", "2", (), text * 5, ("everyone",))
    instruction, about = add_passages_to_example(
        question, "", [passage], "Use these.\n\n{passages}\n\nQuestion: {question}"
    )
    return example(subject, about, f"Answer to {question}", instruction=instruction)


def test_train_and_test_questions_may_cite_the_same_document() -> None:
    """With passages in the comparison, all questions about one document would be leaks of each other."""
    trained, tested = subjects_in("train", 1)[0], subjects_in("test", 1)[0]
    rows = [
        _with_passage(trained, "When do I have to ask for it?"),
        _with_passage(tested, "Who decides about sick children?"),
    ]
    found = built(extra=rows)
    assert {row["example_id"] for row in rows} <= set(found.table["example_id"].to_pylist())
    assert issue_certificate(found, SEARCH).rows_with_passages == 2
    assert issue_certificate(found, SEARCH).is_valid
    passage_counts = {row["example_id"]: row["passage_count"] for row in found.provenance.to_pylist()}
    assert {passage_counts[row["example_id"]] for row in rows} == {1}
    assert set(passage_counts.values()) == {1, None}


@pytest.mark.parametrize("text", ["Full-time staff have 20 days of leave a year.", "Now they have 25."])
def test_the_same_question_is_a_leak_whatever_its_passages(text: str) -> None:
    """The test split keeps it."""
    trained, tested = subjects_in("train", 1)[0], subjects_in("test", 1)[0]
    train_example, test_example = (
        _with_passage(trained, "Who may take it in June?"),
        _with_passage(tested, "Who may take it in June?", text),
    )
    found = built(extra=[train_example, test_example])
    ids = set(found.table["example_id"].to_pylist())
    assert (test_example["example_id"] in ids, train_example["example_id"] in ids) == (True, False)

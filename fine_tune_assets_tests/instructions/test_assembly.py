"""What goes into an instruction set, what is left out and why, and when none is made."""

from dataclasses import replace
from datetime import date
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fine_tune_assets.core.errors import GateClosedError, RecipeError
from fine_tune_assets.core.prompts.retrieval_contract import CarriedPassage, example_with_passages
from fine_tune_assets.instructions.assembly import (
    EmptySplitError,
    TooFewExamplesError,
    build_instruction_set,
    dropped_by_reason,
)
from fine_tune_assets.instructions.certificate import leakage_certificate
from fine_tune_assets.instructions.provenance import ReportFacts
from fine_tune_assets.instructions.splits import EarlierTests, SplitRule
from fine_tune_assets.tables.instructions import GeneralExample, InstructionRow, ProvenanceRow
from fine_tune_assets.tables.records import check_table, table_of
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
    patients_in,
    rules,
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
    check_table(table, InstructionRow.SCHEMA)
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
    assert leakage_certificate(result, SEARCH).holds


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
        build_instruction_set(few, general(), rules(), around())
    assert issubclass(TooFewExamplesError, GateClosedError)


def test_an_empty_split_closes_the_gate() -> None:
    """Without a test split nothing would be measured."""
    extra = [example(TRAINED, f"Finding {number}.") for number in range(20)]
    with pytest.raises(EmptySplitError, match="validation and the test split would be empty"):
        build_instruction_set(approved(0, extra), general(), rules(), around())
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
    result = build_instruction_set(approved(), general({"small": 2}), rules(0.5), around())
    assert sum(result.table.column("is_general").to_pylist()) == 2
    assert result.general_wanted == sum(split_name(f"patient{n}") == "train" for n in range(40))


def test_a_general_question_that_a_held_out_split_holds_is_not_mixed_in() -> None:
    """General data can leak the exam as well."""
    asked = example(TESTED, "", instruction="Question small 0?")
    result = build_instruction_set(approved(extra=[asked]), general({"small": 5}), rules(0.5), around())
    assert sum(result.table.column("is_general").to_pylist()) == 4


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_the_set_is_the_same_for_any_order_of_rows(data: st.DataObject) -> None:
    """Its fingerprint decides whether a GPU is used: order must not change it."""
    extra = [example(TRAINED, "X."), example(TESTED, "X."), example(OTHER_TRAINED, "Y."), example(TRAINED, "Y.")]
    rows, mix = approved(extra=extra), general()
    order = data.draw(st.permutations(range(rows.num_rows)))
    mix_order = data.draw(st.permutations(range(mix.num_rows)))
    first = build_instruction_set(rows, mix, rules(), around())
    second = build_instruction_set(rows.take(pa.array(order)), mix.take(pa.array(mix_order)), rules(), around())
    assert first.table.equals(second.table)
    assert first.dropped == second.dropped


def test_new_data_moves_no_patient() -> None:
    """What was tested stays tested: growing the data must not teach old exam questions."""
    before = {row["example_id"]: row["split"] for row in built().table.to_pylist() if not row["is_general"]}
    grown = build_instruction_set(approved(80), general(), rules(), around()).table.to_pylist()
    after = {row["example_id"]: row["split"] for row in grown}
    assert all(after[example_id] == split for example_id, split in before.items())
    assert OTHER_TESTED not in {row["patient_key"] for row in grown if row["split"] != "test"}


NEARLY = "Chest pain since last night after a long walk uphill with no fever, better at rest."
"""More than the finder's share of its words stays when one is changed."""


@pytest.mark.parametrize(("patient", "holder"), [(TRAINED, TESTED), (VALIDATED, TESTED), (TRAINED, VALIDATED)])
def test_nearly_the_same_input_is_left_out_of_the_split_that_learns(patient: str, holder: str) -> None:
    """A copied note with one word changed teaches the exam as well as the copy does."""
    lesson, exam = example(patient, NEARLY.replace("uphill", "downhill"), "Ice."), example(holder, NEARLY, "Rest.")
    result = built([lesson, exam])
    (dropped,) = result.dropped
    assert dropped.example_id == lesson["example_id"]
    assert dropped.reason.startswith(
        f"near duplicate of {exam['example_id']} in {split_name(holder)} (input), similarity 0."
    )
    assert leakage_certificate(result, SEARCH).holds


def test_a_whole_example_that_is_nearly_the_same_is_left_out_although_its_input_is_not() -> None:
    """A long answer to a short question is what is learnt by heart."""
    answer = " ".join(f"word{number}" for number in range(60))
    result = built([example(TRAINED, "A cough.", answer), example(TESTED, "Some sneezing.", answer)])
    assert ["whole example" in dropped.reason for dropped in result.dropped] == [True]


def test_what_is_like_something_that_is_left_out_itself_stays() -> None:
    """Only what is really in another split can leak from it."""
    once = NEARLY.replace("uphill", "downhill")
    twice = once.replace("fever", "cough")
    assert not find_pairs([NEARLY, twice], ["test", "train"])
    chain = [example(TESTED, NEARLY), example(VALIDATED, once), example(TRAINED, twice)]
    assert [d.example_id for d in built(chain).dropped] == [chain[1]["example_id"]]
    assert [d.example_id for d in built(chain[1:]).dropped] == [chain[2]["example_id"]]


def test_an_evaluation_question_is_not_trained_on() -> None:
    """The score on retained abilities would rise by learning its questions."""
    question = EVALUATION[0]
    learned = example(TRAINED, question.input.upper(), question.output)
    general_row = general({"small": 5}, instruction="The tap was opened, therefore {}").slice(0, 1).to_pylist()[0]
    copied = table_of([{**general_row, "instruction": question.input}], GeneralExample.SCHEMA)
    result = build_instruction_set(approved(extra=[learned]), copied, rules(0.5), around())
    assert [d.example_id for d in result.dropped] == [learned["example_id"]]
    assert "duplicate of copa line 1 in evaluation" in result.dropped[0].reason
    assert [d.example_id for d in result.general_left_out] == [general_row["example_id"]]
    assert not any(result.table.column("is_general").to_pylist())


def test_an_evaluation_question_is_not_validated_on() -> None:
    """Validation chooses the checkpoint, so it would choose the one that knows the question."""
    validated = example(VALIDATED, EVALUATION[0].input.upper(), EVALUATION[0].output)
    (dropped,) = built([validated]).dropped
    assert dropped.example_id == validated["example_id"]
    assert "duplicate of copa line 1 in evaluation" in dropped.reason


def test_an_evaluation_question_may_stand_in_the_test_split() -> None:
    """It is not learned there."""
    assert built([example(TESTED, EVALUATION[0].input, EVALUATION[0].output)]).dropped == ()


def test_reasons_are_counted_by_kind_without_ids() -> None:
    """A count for each id would say nothing."""
    extra = [
        example(TRAINED, NEARLY.replace("uphill", "downhill")),
        example(OTHER_TRAINED, NEARLY.replace("uphill", "inside")),
        example(TESTED, NEARLY),
        example(TRAINED, "Same."),
        example(TRAINED, "Same.", suffix=" again"),
    ]
    assert dropped_by_reason(built(extra).dropped) == {"exactly the same example": 1, "near duplicate": 2}


@settings(max_examples=15, deadline=None)
@given(order=st.permutations(range(46)))
def test_every_approved_example_is_in_the_set_or_left_out_with_a_reason(order: list[int]) -> None:
    """Rows in are rows kept and rows dropped, whatever their order."""
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


def test_what_was_tested_on_before_is_not_trained_on_for_another_patient() -> None:
    """The patient who was tested may be gone; the question was an exam all the same."""
    lesson = example(TRAINED, "Finding x.")
    earlier = EarlierTests(examples={str(lesson["fingerprint"]): "0123"})
    result = built([lesson], earlier=earlier)
    assert [d.reason for d in result.dropped] == ["it is in the test split of set 0123"]


def test_a_patient_of_an_earlier_test_by_another_rule_closes_the_gate() -> None:
    """A smaller test fraction would teach old exam questions; only another salt starts anew."""
    earlier = EarlierTests(by_another_rule=frozenset({TRAINED, TESTED}))
    with pytest.raises(RecipeError, match=r"^1 patients were tested on .* change split.salt too"):
        built([example(TRAINED, "Finding x.")], earlier=earlier)


def test_a_patient_of_an_earlier_test_by_the_same_rule_stays_in_test() -> None:
    """Under a split by time the late report may be withdrawn: the patient was an exam all the same."""
    result = built([example(TRAINED, "Finding x.")], rule=SplitRule(SPLIT, tested_before=frozenset({TRAINED})))
    rows = [row for row in result.table.to_pylist() if row["patient_key"] == TRAINED]
    assert {row["split"] for row in rows} == {"test"}
    assert len(rows) == 2


def _dated(rows: pa.Table, undated: str = "") -> dict[str, ReportFacts]:
    return {
        report: ReportFacts("f", "s", None if report == undated else date(2024, 1, 1))
        for report in rows.column("report_id").to_pylist()
    }


def test_under_a_split_by_time_an_example_without_a_date_is_not_trained_on() -> None:
    """Nobody can say that it was written before the day."""
    rows = approved()
    rule = SplitRule(replace(SPLIT, test_from="2025-01-01"), late_patients=frozenset({TRAINED}))
    by_patient = {row["patient_key"]: row for row in rows.to_pylist()}
    undated = by_patient[OTHER_TRAINED]["report_id"]
    result = build_instruction_set(rows, general(), rules(), around(rule=rule, reports=_dated(rows, undated)))
    splits = {row["patient_key"]: row["split"] for row in result.table.to_pylist() if not row["is_general"]}
    assert splits[TRAINED] == "test"
    assert [d.example_id for d in result.dropped] == [by_patient[OTHER_TRAINED]["example_id"]]
    assert "has no date" in result.dropped[0].reason


def test_provenance_names_report_approval_and_scrubber_of_every_row() -> None:
    """Which models saw this patient, and on whose word: answered from this table."""
    decided = {**example(TRAINED, "Finding x."), "approval_kind": "expert", "approved_by": "A", "decision_ids": ["d1"]}
    facts = {decided["report_id"]: ReportFacts("f1", "s1", None)}
    result = built([decided], reports=facts)
    check_table(result.provenance, ProvenanceRow.SCHEMA)
    assert result.provenance.column("example_id") == result.table.column("example_id")
    rows = {row["example_id"]: row for row in result.provenance.to_pylist()}
    row = rows[str(decided["example_id"])]
    assert (row["report_fingerprint"], row["scrubber_version"], row["decision_ids"]) == ("f1", "s1", ["d1"])
    mixed = rows[next(r["example_id"] for r in result.table.to_pylist() if r["is_general"])]
    nothing = ("report_id", "report_fingerprint", "patient_key", "approved_by", "approval_kind", "scrubber_version")
    assert [mixed[name] for name in nothing] == [None] * len(nothing)
    assert mixed["decision_ids"] == []


def _with_passage(
    patient: str, question: str, text: str = "Full-time staff have 20 days of leave a year."
) -> dict[str, Any]:
    passage = CarriedPassage("p1", "Leave", "leave.md", "2", (), text * 5, ("everyone",))
    instruction, about = example_with_passages(
        question, "", [passage], "Use these.\n\n{passages}\n\nQuestion: {question}"
    )
    return example(patient, about, f"Answer to {question}", instruction=instruction)


def test_one_document_may_stand_before_a_question_of_the_lessons_and_another_one_of_the_exam() -> None:
    """As it does in use. Compared with its passages, each question about a document would be a leak of every other one."""
    learner, tested = patients_in("train", 1)[0], patients_in("test", 1)[0]
    rows = [
        _with_passage(learner, "When do I have to ask for it?"),
        _with_passage(tested, "Who decides about sick children?"),
    ]
    found = built(extra=rows)
    assert {row["example_id"] for row in rows} <= set(found.table["example_id"].to_pylist())
    assert leakage_certificate(found, SEARCH).rows_with_passages == 2
    assert leakage_certificate(found, SEARCH).holds
    told = {row["example_id"]: row["passages"] for row in found.provenance.to_pylist()}
    assert {told[row["example_id"]] for row in rows} == {1}
    assert set(told.values()) == {1, None}


@pytest.mark.parametrize("text", ["Full-time staff have 20 days of leave a year.", "Now they have 25."])
def test_the_same_question_is_a_leak_whatever_stands_before_it(text: str) -> None:
    """The exam keeps it."""
    learner, tested = patients_in("train", 1)[0], patients_in("test", 1)[0]
    lesson, exam = (
        _with_passage(learner, "Who may take it in June?"),
        _with_passage(tested, "Who may take it in June?", text),
    )
    found = built(extra=[lesson, exam])
    ids = set(found.table["example_id"].to_pylist())
    assert (exam["example_id"] in ids, lesson["example_id"] in ids) == (True, False)

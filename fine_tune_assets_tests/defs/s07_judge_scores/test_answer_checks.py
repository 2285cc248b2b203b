"""The checks of answers in the graph: of this adapter's answers on its set's own test split, and never with their text."""

import dagster as dg
import pyarrow as pa
import pytest

from fine_tune_assets.defs.platform.metadata import REASON
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.defs.s07_judge_scores.answer_checks import (
    answer_checks,
    answers_are_grounded,
    answers_match_format,
)
from fine_tune_assets.instructions.stored_sets import StoredInstructionSet, write_instruction_set
from fine_tune_assets.tables.judging_rows import JudgeScore
from fine_tune_assets.tables.record_classes import table_from_records
from fine_tune_assets.tables.training_rows import Adapter
from fine_tune_assets_tests.instructions.examples import SEARCH, built
from fine_tune_assets_tests.record_factory import made

pytestmark = pytest.mark.usefixtures("installation_dir")
PLANTED = "Quixot"


@pytest.fixture
def stored() -> StoredInstructionSet:
    return write_instruction_set(Installation().layout.instruction_sets, built(), {"seed": 7}, SEARCH)


def _scores(stored: StoredInstructionSet, wrong: str = "", split: str = "test", adapter_id: str = "new") -> pa.Table:
    """The base model answers what was approved; the candidate `wrong`, where that is given."""
    examples = [row for row in stored.table.to_pylist() if row["split"] == split and not row["is_general"]]
    assert len(examples) >= 3
    rows = [
        {
            "model": model,
            "model_fingerprint": model,
            "adapter_id": adapter_id,
            "example_id": example["example_id"],
            "subject_key": example["subject_key"],
            "answer": answer or example["messages"][-1]["content"],
            "score": 5.0,
            "reason": "r",
            "unsupported_numbers": 0,
            "is_finished": True,
            "judge_version": "j",
        }
        for model, answer in (("base", ""), ("adapter", wrong))
        for example in examples
    ]
    return pa.Table.from_pylist(
        [{name: row.get(name) for name in JudgeScore.SCHEMA.names} for row in rows], JudgeScore.SCHEMA
    )


def _made(stored: StoredInstructionSet, scores: pa.Table) -> dg.MaterializeResult[pa.Table]:
    adapter = made(Adapter, adapter_id="new", instruction_set_fingerprint=stored.fingerprint)
    adapters = table_from_records(Adapter, [adapter])
    checked = answer_checks(installation=Installation(), adapters=adapters, judge_scores=scores)
    assert isinstance(checked, dg.MaterializeResult)
    return checked


def _checks(table: pa.Table) -> list[dg.AssetCheckResult]:
    checks = (answers_are_grounded, answers_match_format)
    found = [check(installation=Installation(), answer_checks=table) for check in checks]
    return [one for one in found if isinstance(one, dg.AssetCheckResult)]


def test_answers_as_good_as_those_of_what_serves_pass_both_checks(stored: StoredInstructionSet) -> None:
    made = _made(stored, _scores(stored))
    assert [check.passed for check in _checks(made.value)] == [True, True]


@pytest.mark.parametrize(
    ("wrong", "passed", "why"),
    [
        (f"Rest {PLANTED} rest 99.", [False, True], "The check numbers "),
        (f"Left {PLANTED} knee.", [False, False], "The check sides "),
        (f"Rest {PLANTED} rest. " * 9, [True, False], "The check length "),
        (PLANTED, [True, False], "The check readable "),
    ],
)
def test_a_worse_candidate_closes_its_check(
    stored: StoredInstructionSet, wrong: str, passed: list[bool], why: str
) -> None:
    """Which of the two says where to look; no word of an answer is in what people see."""
    made = _made(stored, _scores(stored, wrong))
    checks = _checks(made.value)
    assert [check.passed for check in checks] == passed
    closed = next(check for check in checks if not check.passed)
    assert why in str(closed.metadata[REASON].value)
    assert PLANTED not in str(made.metadata) + str([check.metadata for check in checks]) + str(made.value.to_pylist())


def test_answers_to_other_examples_are_not_checked(stored: StoredInstructionSet) -> None:
    """They say nothing about this set's test split."""
    with pytest.raises(dg.Failure, match="`fine-tune materialize judge_scores`"):
        _made(stored, _scores(stored, split="train"))


def test_answers_of_another_adapter_are_not_checked(stored: StoredInstructionSet) -> None:
    with pytest.raises(dg.Failure, match="another adapter"):
        _made(stored, _scores(stored, adapter_id="old"))

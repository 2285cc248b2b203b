"""The checks of judged answers: what they find, what does not apply, and when they veto."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.judging.contestants.answer_checks import CHECK_NAMES, check_answers, incumbent_in
from fine_tune_assets.judging.verdicts.families import checks
from fine_tune_assets.judging.verdicts.figures import Figure, settle
from fine_tune_assets.judging.verdicts.promotion_rule import against_family
from fine_tune_assets.recipes.loader import load_recipe
from fine_tune_assets.recipes.schema import CheckSettings, GateSettings, OutputFormat
from fine_tune_assets.tables.instructions import InstructionRow
from fine_tune_assets.tables.judging import AnswerCheck, JudgeScore
from fine_tune_assets.tables.records import table_of

GATE = replace(load_recipe("demo_smollm2").gate, maximum_check_loss=0.1)
INPUT = "Pain in the right knee for 3 weeks, no fever. Takes ibuprofen 600 mg three times a day, since 3/4/2024."
RIGHT = "Right knee pain for 3 weeks without fever, on ibuprofen 600 mg tid since 3/4/2024."
WRONG = {
    "numbers": RIGHT.replace("3 weeks", "7 weeks"),
    "units": RIGHT.replace("600 mg", "600 mcg"),
    "dates": RIGHT.replace("3/4/2024", "3/9/2024"),
    "sides": RIGHT.replace("Right", "Left"),
    "negations": RIGHT.replace("without fever", "with fever"),
    "medications": RIGHT.replace("tid", "bid"),
    "length": RIGHT + " Rest and ice are good for it." * 20,
}
"""Check → the answer that fails it and no other."""


def _set(tests: int = 10) -> pa.Table:
    """`tests` examples to be tested on, and as many that were trained on."""
    rows = [
        {
            "example_id": f"{split}{number}",
            "split": split,
            "line": "a-line",
            "source": "clinic",
            "task": "summary",
            "patient_key": f"p-{split}{number}",
            "is_general": False,
            "messages": [
                {"role": role, "content": content}
                for role, content in (("system", "Be careful."), ("user", INPUT), ("assistant", RIGHT))
            ],
            "fingerprint": "f",
        }
        for split in ("train", "test")
        for number in range(tests)
    ]
    return table_of(rows, InstructionRow.SCHEMA)


def _scores(answers: Mapping[str, list[str]], **changes: Any) -> pa.Table:
    """Model → its answers to test0, test1, …"""
    rows = [
        {
            "model": model,
            "model_fingerprint": f"fingerprint of {model}",
            "adapter_id": "a",
            "example_id": f"test{number}",
            "patient_key": f"p-test{number}",
            "answer": answer,
            "score": 5.0,
            "reason": "r",
            "unsupported_numbers": 0,
            "is_finished": True,
            "judge_version": "j",
            **changes,
        }
        for model, texts in answers.items()
        for number, answer in enumerate(texts)
    ]
    return pa.Table.from_pylist(
        [{name: row.get(name) for name in JudgeScore.SCHEMA.names} for row in rows], JudgeScore.SCHEMA
    )


def _checked(candidate: list[str], incumbent: list[str], settings: CheckSettings | None = None) -> pa.Table:
    return check_answers(_scores({"base": incumbent, "adapter": candidate}), _set(), settings or CheckSettings())


def _failed(table: pa.Table, model: str) -> set[str]:
    return {row["check"] for row in table.to_pylist() if row["model"] == model and row["is_held"] is False}


def _figures(table: pa.Table, gate: GateSettings = GATE) -> tuple[Figure, ...]:
    examples = set(table.column("example_id").to_pylist())
    return settle(checks(table, incumbent_in(table), examples, gate.maximum_check_loss))


def _vetoes(table: pa.Table, gate: GateSettings = GATE) -> list[str]:
    """Reasons of the verdict, of this family alone."""
    return [*against_family("checks", _figures(table, gate), CHECK_NAMES, gate)]


def test_right_answers_hold_to_every_check_and_nothing_vetoes() -> None:
    """One row for each answer and check; the task of these asks for no format."""
    table = _checked([RIGHT] * 10, [RIGHT] * 10)
    assert table.schema == AnswerCheck.SCHEMA
    assert table.num_rows == 2 * 10 * len(CHECK_NAMES)
    assert {row["check"] for row in table.to_pylist() if row["is_held"] is None} == {"format"}
    assert _failed(table, "adapter") == set()
    assert _vetoes(table) == []


@pytest.mark.parametrize("check", WRONG)
def test_each_check_vetoes_by_itself(check: str) -> None:
    """Two of ten answers with one kind of error: no mean over the checks hides it."""
    table = _checked([WRONG[check]] * 2 + [RIGHT] * 8, [RIGHT] * 10)
    assert _failed(table, "adapter") == {check}
    (reason,) = _vetoes(table)
    assert f"The check {check} holds less often, as measured: 1.00 before, 0.80 after" in reason
    assert "on 10 items; 0.10 may be lost" in reason


@pytest.mark.parametrize("check", WRONG)
def test_what_serves_may_be_worse(check: str) -> None:
    """A candidate is not held to what the incumbent does not reach."""
    table = _checked([RIGHT] * 10, [WRONG[check]] * 10)
    assert _failed(table, "base") == {check}
    assert _vetoes(table) == []


def test_a_loss_within_the_gate_is_no_veto() -> None:
    """One of ten, where the gate allows a tenth; and none where it allows nothing."""
    table = _checked([WRONG["sides"]] + [RIGHT] * 9, [RIGHT] * 10)
    assert _vetoes(table) == []
    assert len(_vetoes(table, replace(GATE, maximum_check_loss=0.0))) == 1


def test_an_answer_that_was_cut_off_is_not_finished() -> None:
    cut = _scores({"adapter": [RIGHT] * 10}, is_finished=False)
    table = check_answers(pa.concat_tables([_scores({"base": [RIGHT] * 10}), cut]), _set(), CheckSettings())
    assert _failed(table, "adapter") == {"finished"}
    assert "The check finished " in _vetoes(table)[0]


def test_a_task_with_a_format_is_held_to_it() -> None:
    """And one without is not."""
    wanted = CheckSettings(formats={"summary": OutputFormat(headings=("PLAN",))})
    table = _checked([RIGHT] * 10, [f"PLAN\n{RIGHT}"] * 10, wanted)
    assert _failed(table, "adapter") == {"format"}
    assert "The check format " in _vetoes(table)[0]


def test_the_incumbent_is_what_serves_and_not_the_base_model() -> None:
    """Better than the base model is not good enough once a model serves."""
    answers = {"base": [WRONG["sides"]] * 10, "incumbent": [RIGHT] * 10, "adapter": [WRONG["sides"]] * 5 + [RIGHT] * 5}
    table = check_answers(_scores(answers), _set(), CheckSettings())
    figure = next(figure for figure in _figures(table) if figure.name == "sides")
    assert (figure.items, figure.candidate, figure.incumbent) == (10, 0.5, 1.0)
    assert figure.difference == pytest.approx(-0.5, abs=1e-9)
    assert len(_vetoes(table)) == 1


@pytest.mark.parametrize("missing", CHECK_NAMES)
def test_a_check_that_was_not_made_vetoes(missing: str) -> None:
    """A missing figure never helps."""
    rows = [row for row in _checked([RIGHT] * 10, [RIGHT] * 10).to_pylist() if row["check"] != missing]
    assert _vetoes(table_of(rows, AnswerCheck.SCHEMA)) == [f"{missing} was not measured (checks)."]
    nothing = _vetoes(AnswerCheck.SCHEMA.empty_table())
    assert nothing[0] == "The answers were not checked (numbers, doses, sides, negations)."
    assert len(nothing) == 1 + len(CHECK_NAMES)


def test_answers_of_one_model_only_veto() -> None:
    """Half of a comparison is none: whichever half."""
    rows = _checked([WRONG["sides"]] * 10, [RIGHT] * 10).to_pylist()
    for gone in ("base", "adapter"):
        table = table_of([row for row in rows if row["model"] != gone], AnswerCheck.SCHEMA)
        assert sum("10 of 10 examples were not checked for both" in reason for reason in _vetoes(table)) == len(
            CHECK_NAMES
        )
    few = table_of([row for row in rows if row["model"] == "base" or row["example_id"] != "test0"], AnswerCheck.SCHEMA)
    assert "1 of 10 examples were not checked for both" in _vetoes(few)[0]


def test_answers_to_other_examples_are_refused() -> None:
    """Somebody grades what was trained on; and no word of the answer is in the error."""
    scores = _scores({"adapter": ["Quixotefever"]}, example_id="train0")
    with pytest.raises(
        GateClosedError, match="1 answers are to examples that this instruction set does not test on"
    ) as refused:
        check_answers(scores, _set(), CheckSettings())
    assert "Quixote" not in str(refused.value)


def test_no_text_of_an_answer_is_in_the_table_or_in_a_reason() -> None:
    """The table is shown in the Dagster UI, and a reason in the verdict."""
    table = _checked(["Zanzibarol 77 mg for the left Quixoteknee on 5/6/2024, with fever."] * 10, [RIGHT] * 10)
    written = str(table.to_pylist()) + str(_vetoes(table)) + str(_figures(table))
    assert len(_vetoes(table)) >= 3
    assert [word for word in ("Zanzibarol", "Quixote", "5/6/2024", "77 mg") if word in written] == []

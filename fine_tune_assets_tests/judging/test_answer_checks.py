"""The checks of judged answers: what they find, what does not apply, and when they veto."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.tables import ANSWER_CHECKS, INSTRUCTION_SETS, JUDGE_SCORES, table_of
from fine_tune_assets.judging.answer_checks import (
    CHECK_NAMES,
    OF_THE_FORM,
    check_answers,
    check_figures,
    vetoes,
)
from fine_tune_assets.recipes.loading import load_recipe
from fine_tune_assets.recipes.schema import CheckSettings, OutputFormat

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
    return table_of(rows, INSTRUCTION_SETS)


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
    return pa.Table.from_pylist([{name: row.get(name) for name in JUDGE_SCORES.names} for row in rows], JUDGE_SCORES)


def _checked(candidate: list[str], incumbent: list[str], settings: CheckSettings | None = None) -> pa.Table:
    return check_answers(_scores({"base": incumbent, "adapter": candidate}), _set(), settings or CheckSettings())


def _failed(table: pa.Table, model: str) -> set[str]:
    return {row["check"] for row in table.to_pylist() if row["model"] == model and row["is_held"] is False}


def test_right_answers_hold_to_every_check_and_nothing_vetoes() -> None:
    """One row for each answer and check; the task of these asks for no format."""
    table = _checked([RIGHT] * 10, [RIGHT] * 10)
    assert table.schema == ANSWER_CHECKS
    assert table.num_rows == 2 * 10 * len(CHECK_NAMES)
    assert {row["check"] for row in table.to_pylist() if row["is_held"] is None} == {"format"}
    assert _failed(table, "adapter") == set()
    assert vetoes(table, GATE) == []


@pytest.mark.parametrize("check", WRONG)
def test_each_check_vetoes_by_itself(check: str) -> None:
    """Two of ten answers with one kind of error: no mean over the checks hides it."""
    table = _checked([WRONG[check]] * 2 + [RIGHT] * 8, [RIGHT] * 10)
    assert _failed(table, "adapter") == {check}
    (reason,) = vetoes(table, GATE)
    assert f"the check of {check} " in reason
    assert "20% of 10 answers against 0%" in reason


@pytest.mark.parametrize("check", WRONG)
def test_what_serves_may_be_worse(check: str) -> None:
    """A candidate is not held to what the incumbent does not reach."""
    table = _checked([RIGHT] * 10, [WRONG[check]] * 10)
    assert _failed(table, "base") == {check}
    assert vetoes(table, GATE) == []


def test_a_loss_within_the_gate_is_no_veto() -> None:
    """One of ten, where the gate allows a tenth; and none where it allows nothing."""
    table = _checked([WRONG["sides"]] + [RIGHT] * 9, [RIGHT] * 10)
    assert vetoes(table, GATE) == []
    assert len(vetoes(table, replace(GATE, maximum_check_loss=0.0))) == 1


def test_an_answer_that_was_cut_off_is_not_finished() -> None:
    cut = _scores({"adapter": [RIGHT] * 10}, is_finished=False)
    table = check_answers(pa.concat_tables([_scores({"base": [RIGHT] * 10}), cut]), _set(), CheckSettings())
    assert _failed(table, "adapter") == {"finished"}
    assert "the check of finished" in vetoes(table, GATE)[0]


def test_a_task_with_a_format_is_held_to_it() -> None:
    """And one without is not."""
    wanted = CheckSettings(formats={"summary": OutputFormat(headings=("PLAN",))})
    table = _checked([RIGHT] * 10, [f"PLAN\n{RIGHT}"] * 10, wanted)
    assert _failed(table, "adapter") == {"format"}
    assert "the check of format" in vetoes(table, GATE)[0]


def test_the_incumbent_is_what_serves_and_not_the_base_model() -> None:
    """Better than the base model is not good enough once a model serves."""
    answers = {"base": [WRONG["sides"]] * 10, "incumbent": [RIGHT] * 10, "adapter": [WRONG["sides"]] * 5 + [RIGHT] * 5}
    table = check_answers(_scores(answers), _set(), CheckSettings())
    figure = next(figure for figure in check_figures(table) if figure.check == "sides")
    assert (figure.examples, figure.candidate_held, figure.incumbent_held) == (10, 0.5, 1.0)
    assert (figure.candidate_found, figure.incumbent_found) == (5, 0)
    assert figure.loss == pytest.approx(0.5, abs=1e-9)
    assert len(vetoes(table, GATE)) == 1


@pytest.mark.parametrize("missing", CHECK_NAMES)
def test_a_check_that_was_not_made_vetoes(missing: str) -> None:
    """A missing figure never helps."""
    rows = [row for row in _checked([RIGHT] * 10, [RIGHT] * 10).to_pylist() if row["check"] != missing]
    assert vetoes(table_of(rows, ANSWER_CHECKS), GATE) == [f"The check of {missing} was not made."]
    assert len(vetoes(ANSWER_CHECKS.empty_table(), GATE)) == len(CHECK_NAMES)


def test_answers_of_one_model_only_veto() -> None:
    """Half of a comparison is none: whichever half."""
    rows = _checked([WRONG["sides"]] * 10, [RIGHT] * 10).to_pylist()
    for gone in ("base", "adapter"):
        table = table_of([row for row in rows if row["model"] != gone], ANSWER_CHECKS)
        assert sum("for one of the two models only" in reason for reason in vetoes(table, GATE)) == len(CHECK_NAMES) - 1
    few = table_of([row for row in rows if row["model"] == "base" or row["example_id"] != "test0"], ANSWER_CHECKS)
    assert "on 1 examples" in vetoes(few, GATE, OF_THE_FORM)[0]


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
    written = str(table.to_pylist()) + str(vetoes(table, GATE)) + str(check_figures(table))
    assert len(vetoes(table, GATE)) >= 3
    assert [word for word in ("Zanzibarol", "Quixote", "5/6/2024", "77") if word in written] == []

"""Deterministic checks of answers: what they find, when they do not apply, and when they veto."""

import codecs
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.judging.evaluation.deterministic_checks import CHECK_NAMES, check_answers, incumbent_fingerprint
from fine_tune_assets.judging.evaluation.readable_words import KnownWords
from fine_tune_assets.judging.verdicts.metric_families import check_metrics
from fine_tune_assets.judging.verdicts.promotion_rule import family_objections
from fine_tune_assets.judging.verdicts.verdict_metrics import Metric, adjust_metrics
from fine_tune_assets.recipes.domain_packs import load_pack
from fine_tune_assets.recipes.loader import load_recipe
from fine_tune_assets.recipes.schema import CheckSettings, GateSettings, OutputFormat
from fine_tune_assets.tables.instruction_rows import InstructionRow
from fine_tune_assets.tables.judging_rows import AnswerCheck, JudgeScore
from fine_tune_assets.tables.record_classes import table_from_rows
from fine_tune_assets_tests.clinical_domain import PACK

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
    "length": RIGHT + " Right knee pain." * 40,
    "readable": RIGHT + " gnillewstnioj ssensrednetdnassenffits" * 2,
}
"""Check → an answer that fails only this check."""


def _set(tests: int = 10) -> pa.Table:
    """`tests` test examples and as many train examples."""
    rows = [
        {
            "example_id": f"{split}{number}",
            "split": split,
            "line": "a-line",
            "source": "clinic",
            "task": "summary",
            "subject_key": f"p-{split}{number}",
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
    return table_from_rows(rows, InstructionRow.SCHEMA)


def _scores(answers: Mapping[str, list[str]], **changes: Any) -> pa.Table:
    """`answers`: model → its answers to test0, test1, …"""
    rows = [
        {
            "model": model,
            "model_fingerprint": f"fingerprint of {model}",
            "adapter_id": "a",
            "example_id": f"test{number}",
            "subject_key": f"p-test{number}",
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
    return check_answers(_scores({"base": incumbent, "adapter": candidate}), _set(), settings or CheckSettings(), PACK)


def _failed(table: pa.Table, model: str) -> set[str]:
    return {row["check"] for row in table.to_pylist() if row["model"] == model and row["is_passed"] is False}


def _metrics(table: pa.Table, gate: GateSettings = GATE) -> tuple[Metric, ...]:
    examples = set(table.column("example_id").to_pylist())
    return adjust_metrics(check_metrics(table, incumbent_fingerprint(table), examples, gate.maximum_check_loss))


def _vetoes(table: pa.Table, gate: GateSettings = GATE) -> list[str]:
    """The reasons of this family."""
    return [*family_objections("checks", _metrics(table, gate), CHECK_NAMES, gate)]


def test_correct_answers_pass_every_check() -> None:
    """One row per answer and check; this task has no format."""
    table = _checked([RIGHT] * 10, [RIGHT] * 10)
    assert table.schema == AnswerCheck.SCHEMA
    assert table.num_rows == 2 * 10 * len(CHECK_NAMES)
    assert {row["check"] for row in table.to_pylist() if row["is_passed"] is None} == {"format"}
    assert _failed(table, "adapter") == set()
    assert _vetoes(table) == []


UNREADABLE = {
    "reversed": RIGHT[::-1],
    "without blanks": RIGHT.replace(" ", ""),
    "single letters": " ".join(RIGHT),
    "rotated by 13": codecs.encode(RIGHT, "rot13"),
    "Cyrillic look-alikes": RIGHT.translate(str.maketrans("aeopcxi", "аеорсхі")),
}


@pytest.mark.parametrize("answer", UNREADABLE.values(), ids=UNREADABLE)
def test_unreadable_text_vetoes(answer: str) -> None:
    """A judge that compares words or statements may find nothing wrong in it."""
    table = _checked([answer] * 2 + [RIGHT] * 8, [RIGHT] * 10)
    assert "readable" in _failed(table, "adapter")
    assert any(" readable " in reason for reason in _vetoes(table))


def test_where_approved_answers_have_no_blanks_answers_need_none() -> None:
    """Chinese has no blanks between words, for example, so the approved answers set the limit."""
    texts = [("t", "患者主诉", f"右膝疼痛{chr(0x4E00 + number)}周无发热") for number in range(20)]
    assert KnownWords(texts).is_readable("t", "患者主诉", "左膝疼痛三周") is True
    assert KnownWords(texts[:9]).is_readable("t", "患者主诉", "左膝疼痛三周") is None


@pytest.mark.parametrize("check", WRONG)
def test_each_check_vetoes_alone(check: str) -> None:
    """Two of ten answers have one kind of error, which no mean over checks hides."""
    table = _checked([WRONG[check]] * 2 + [RIGHT] * 8, [RIGHT] * 10)
    assert _failed(table, "adapter") == {check}
    (reason,) = _vetoes(table)
    for part in (f" {check} ", "1.00", "0.80", "10 items", "0.10"):
        assert part in reason


@pytest.mark.parametrize("check", ["numbers", "units", "dates", "sides", "negations", "medications"])
def test_what_the_approved_answer_states_is_supported(check: str) -> None:
    """Experts may add what the input lacks; a candidate that learned it was held back for it."""
    table = _checked([WRONG[check]] * 10, [RIGHT] * 10)
    approved = [
        {**row, "messages": [*row["messages"][:-1], {**row["messages"][-1], "content": WRONG[check]}]}
        for row in _set().to_pylist()
    ]
    scores = _scores({"base": [RIGHT] * 10, "adapter": [WRONG[check]] * 10})
    with_it = check_answers(scores, table_from_rows(approved, InstructionRow.SCHEMA), CheckSettings(), PACK)
    assert check in _failed(table, "adapter")
    assert check not in _failed(with_it, "adapter")


@pytest.mark.parametrize("check", WRONG)
def test_the_incumbent_may_be_worse(check: str) -> None:
    """The candidate need not exceed the incumbent."""
    table = _checked([RIGHT] * 10, [WRONG[check]] * 10)
    assert _failed(table, "base") == {check}
    assert _vetoes(table) == []


def test_a_loss_within_the_limit_is_not_a_veto() -> None:
    """One of ten passes with a limit of 0.1 and fails with a limit of 0."""
    table = _checked([WRONG["sides"]] + [RIGHT] * 9, [RIGHT] * 10)
    assert _vetoes(table) == []
    assert len(_vetoes(table, replace(GATE, maximum_check_loss=0.0))) == 1


def test_a_truncated_answer_is_not_finished() -> None:
    cut = _scores({"adapter": [RIGHT] * 10}, is_finished=False)
    table = check_answers(pa.concat_tables([_scores({"base": [RIGHT] * 10}), cut]), _set(), CheckSettings(), PACK)
    assert _failed(table, "adapter") == {"finished"}
    assert " finished " in _vetoes(table)[0]


def test_a_task_with_a_format_is_checked_for_it() -> None:
    wanted = CheckSettings(formats={"summary": OutputFormat(headings=("PLAN",))})
    table = _checked([RIGHT] * 10, [f"PLAN\n{RIGHT}"] * 10, wanted)
    assert _failed(table, "adapter") == {"format"}
    assert " format " in _vetoes(table)[0]


def test_the_incumbent_is_the_production_model_and_not_the_base_model() -> None:
    """With a production model, exceeding the base model is not enough."""
    answers = {"base": [WRONG["sides"]] * 10, "incumbent": [RIGHT] * 10, "adapter": [WRONG["sides"]] * 5 + [RIGHT] * 5}
    table = check_answers(_scores(answers), _set(), CheckSettings(), PACK)
    metric = next(metric for metric in _metrics(table) if metric.name == "sides")
    assert (metric.items, metric.candidate, metric.incumbent) == (10, 0.5, 1.0)
    assert metric.difference == pytest.approx(-0.5, abs=1e-9)
    assert len(_vetoes(table)) == 1


@pytest.mark.parametrize("missing", CHECK_NAMES)
def test_a_missing_check_vetoes(missing: str) -> None:
    """A missing metric never helps."""
    rows = [row for row in _checked([RIGHT] * 10, [RIGHT] * 10).to_pylist() if row["check"] != missing]
    (reason,) = _vetoes(table_from_rows(rows, AnswerCheck.SCHEMA))
    assert f"{missing} (checks)" in reason
    assert "`fine-tune materialize answer_checks`" in reason
    nothing = _vetoes(AnswerCheck.SCHEMA.empty_table())
    assert "`fine-tune materialize answer_checks`" in nothing[0]
    assert len(nothing) == 1 + len(CHECK_NAMES)


def test_answers_of_only_one_model_veto() -> None:
    """Both halves of a comparison are required."""
    rows = _checked([WRONG["sides"]] * 10, [RIGHT] * 10).to_pylist()
    for missing in ("base", "adapter"):
        table = table_from_rows([row for row in rows if row["model"] != missing], AnswerCheck.SCHEMA)
        assert sum("10 of 10" in reason for reason in _vetoes(table)) == len(CHECK_NAMES)
    few = table_from_rows(
        [row for row in rows if row["model"] == "base" or row["example_id"] != "test0"], AnswerCheck.SCHEMA
    )
    assert "1 of 10" in _vetoes(few)[0]


def test_answers_to_train_examples_are_refused() -> None:
    """The error contains no text of the answer."""
    scores = _scores({"adapter": ["Quixotefever"]}, example_id="train0")
    with pytest.raises(GateClosedError, match=r"^1 ") as refused:
        check_answers(scores, _set(), CheckSettings(), PACK)
    assert "Quixote" not in str(refused.value)


def test_no_answer_text_is_in_the_table_or_in_a_reason() -> None:
    """The Dagster UI shows the table, and the verdict the reasons."""
    table = _checked(["Zanzibarol 77 mg for the left Quixoteknee on 5/6/2024, with fever."] * 10, [RIGHT] * 10)
    written = str(table.to_pylist()) + str(_vetoes(table)) + str(_metrics(table))
    assert len(_vetoes(table)) >= 3
    assert [word for word in ("Zanzibarol", "Quixote", "5/6/2024", "77 mg") if word in written] == []


def test_a_check_that_the_domain_does_not_make_has_no_result_and_no_veto() -> None:
    """A missing measurement must not count as passed, and contracts have no sides of a body."""
    answers = _scores({"base": [RIGHT] * 10, "adapter": [WRONG["sides"]] * 10})
    table = check_answers(answers, _set(), CheckSettings(), load_pack("law"))
    unmeasured = {row["check"] for row in table.to_pylist() if row["is_passed"] is None}
    assert unmeasured == {"format", "sides", "negations", "medications"}
    assert _vetoes(table) == []

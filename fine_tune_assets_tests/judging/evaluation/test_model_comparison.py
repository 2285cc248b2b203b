"""Answers of the compared models: cached, graded, and compared with the incumbent's only."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.progress import ignore_progress
from fine_tune_assets.core.prompts.conversations import build_conversation
from fine_tune_assets.judging.judges.grade_cache import GradeCache
from fine_tune_assets.judging.judges.grades import EvaluationExample
from fine_tune_assets.judging.judges.rubrics import read_rubric
from fine_tune_assets.judging.judges.statement_judge import StatementJudge
from fine_tune_assets_tests.judging.judges.word_reader import WordReader
from fine_tune_assets_tests.record_factory import turns

pytestmark = pytest.mark.slow  # the engine's module imports torch
EXAMPLES = [
    EvaluationExample(
        example_id=f"e-{n}",
        subject_key=f"p-{n}",
        task="note",
        messages=turns(
            build_conversation(
                "Be brief.", "Name the complaint.", f"A cough for {n} weeks.\n\nNo fever.", f"Cough for {n} weeks."
            )
        ),
    )
    for n in (2, 3)
]


class _CountingModel:
    """Counts the generated answers."""

    def __init__(self, text: str = "Cough for 2 weeks.") -> None:
        self.count = 0
        self._text = text

    def __call__(self, conversations: Sequence[Sequence[dict[str, str]]]) -> list[Any]:
        from fine_tune_assets.engines.transformers_models import Answer

        self.count += len(conversations)
        return [Answer(self._text, True) for _ in conversations]


def _answered(cache: Path, generate: _CountingModel, model: str = "m-1", **generation_settings: Any) -> Any:
    from fine_tune_assets.judging.evaluation.model_comparison import Contestant, collect_answers

    with closing(GradeCache(cache)) as opened:
        return collect_answers(EXAMPLES, [Contestant("adapter", model, generate, generation_settings)], opened)


def test_cached_answers_are_not_generated_again(tmp_path: Path) -> None:
    """Judging again, with another judge or after a crash, needs no generation."""
    generate = _CountingModel()
    first = _answered(tmp_path / "kept.sqlite", generate, max_new_tokens=8)
    assert generate.count == 2
    again = _answered(tmp_path / "kept.sqlite", generate, max_new_tokens=8)
    assert generate.count == 2
    assert [a.answer for a in again] == [a.answer for a in first]


@pytest.mark.parametrize("changed", [{"model": "m-2"}, {"max_new_tokens": 9}, {"base": "another"}])
def test_another_model_or_setting_generates_again(tmp_path: Path, changed: dict[str, Any]) -> None:
    """An answer of other weights would corrupt the verdict."""
    generate = _CountingModel()
    _answered(tmp_path / "kept.sqlite", generate, **{"max_new_tokens": 8})
    _answered(tmp_path / "kept.sqlite", generate, **{"max_new_tokens": 8, **changed})
    assert generate.count == 4


def test_a_judge_gets_instruction_input_and_reference_separately(tmp_path: Path) -> None:
    answered = _answered(tmp_path / "kept.sqlite", _CountingModel())[1].gradable
    assert answered.instruction == "Name the complaint."
    assert answered.input == "A cough for 3 weeks.\n\nNo fever."
    assert answered.reference == "Cough for 3 weeks."


def test_each_row_names_its_judge(tmp_path: Path) -> None:
    from fine_tune_assets.judging.evaluation.model_comparison import grade_answers

    judge = StatementJudge("verifier", WordReader(), read_rubric("general", "clinical"))
    table = grade_answers(_answered(tmp_path / "kept.sqlite", _CountingModel()), judge, "a-1", ignore_progress)
    right, wrong = table.to_pylist()
    assert (right["judge_kind"], right["judge_version"], right["task"]) == ("verifier", judge.version, "note")
    assert right["score"] > wrong["score"]
    assert (right["unsupported_numbers"], wrong["unsupported_numbers"]) == (0, 1)

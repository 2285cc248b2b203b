"""Answers of contestants: kept, so that the same model is not asked the same twice; and graded by whatever judge there is."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.progress import silent
from fine_tune_assets.judging.grade_cache import GradeCache
from fine_tune_assets.judging.offline_judge import offline_judge

pytestmark = pytest.mark.slow  # the engine's module imports torch
EXAMPLES = [
    {
        "example_id": f"e-{n}",
        "patient_key": f"p-{n}",
        "task": "note",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": f"Name the complaint.\n\nA cough for {n} weeks.\n\nNo fever."},
            {"role": "assistant", "content": f"Cough for {n} weeks."},
        ],
    }
    for n in (2, 3)
]


class _Asked:
    """Counts what it generates."""

    def __init__(self, text: str = "Cough for 2 weeks.") -> None:
        self.count = 0
        self._text = text

    def __call__(self, conversations: Sequence[Sequence[dict[str, str]]]) -> list[Any]:
        from fine_tune_assets.engines.transformers_models import Answer

        self.count += len(conversations)
        return [Answer(self._text, True) for _ in conversations]


def _answered(cache: Path, generate: _Asked, model: str = "m-1", **decided_by: Any) -> Any:
    from fine_tune_assets.judging.comparing import Contestant, answer_all

    with closing(GradeCache(cache)) as opened:
        return answer_all(EXAMPLES, [Contestant("adapter", model, generate, decided_by)], opened)


def test_what_a_model_answered_before_is_not_generated_again(tmp_path: Path) -> None:
    """Judging again, with another judge or after a kill, costs no generation."""
    generate = _Asked()
    first = _answered(tmp_path / "kept.sqlite", generate, max_new_tokens=8)
    assert generate.count == 2
    again = _answered(tmp_path / "kept.sqlite", generate, max_new_tokens=8)
    assert generate.count == 2
    assert [a.answer for a in again] == [a.answer for a in first]


@pytest.mark.parametrize("changed", [{"model": "m-2"}, {"max_new_tokens": 9}, {"base": "another"}])
def test_another_model_or_another_length_is_asked_anew(tmp_path: Path, changed: dict[str, Any]) -> None:
    """An answer of other weights would decide a promotion."""
    generate = _Asked()
    _answered(tmp_path / "kept.sqlite", generate, **{"max_new_tokens": 8})
    _answered(tmp_path / "kept.sqlite", generate, **{"max_new_tokens": 8, **changed})
    assert generate.count == 4


def test_a_judge_is_asked_with_instruction_input_and_reference_apart(tmp_path: Path) -> None:
    answered = _answered(tmp_path / "kept.sqlite", _Asked())[1].answered
    assert answered.instruction == "Name the complaint."
    assert answered.input == "A cough for 3 weeks.\n\nNo fever."
    assert answered.reference == "Cough for 3 weeks."


def test_each_row_says_which_judge_it_is_of(tmp_path: Path) -> None:
    from fine_tune_assets.judging.comparing import grade_answers

    judge = offline_judge()
    table = grade_answers(_answered(tmp_path / "kept.sqlite", _Asked()), judge, "a-1", silent)
    right, wrong = table.to_pylist()
    assert (right["judge_kind"], right["judge_version"], right["task"]) == ("offline", judge.version, "note")
    assert right["score"] > wrong["score"]
    assert (right["unsupported_numbers"], wrong["unsupported_numbers"]) == (0, 1)

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
from fine_tune_assets.judging.judges.judge_registry import open_judge
from fine_tune_assets.judging.judges.rubrics import read_rubric
from fine_tune_assets.judging.judges.statement_judge import StatementJudge
from fine_tune_assets_tests.judging.chat_server import ChatServerOfATest, Said, completion, grade_reply
from fine_tune_assets_tests.judging.judges.test_llm_judge import _request
from fine_tune_assets_tests.judging.judges.test_statement_judge import WordReader
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
    table = grade_answers(_answered(tmp_path / "kept.sqlite", _CountingModel()), judge, "a-1", "m-2", ignore_progress)
    right, wrong = table.to_pylist()
    assert (right["judge_kind"], right["judge_version"], right["task"]) == ("verifier", judge.version, "note")
    assert right["score"] > wrong["score"]
    assert (right["unsupported_numbers"], wrong["unsupported_numbers"]) == (0, 1)
    assert [right["compared_model_fingerprint"], right["preference"], right["preference_reason"]] == [None, None, None]


def _contest(folder: Path, **answers: str) -> Any:
    """One contestant per role, with the same answer to every example. Fingerprints are `m-` plus the role."""
    from fine_tune_assets.judging.evaluation.model_comparison import Contestant, collect_answers

    contestants = [Contestant(role, f"m-{role}", _CountingModel(text)) for role, text in answers.items()]
    with closing(GradeCache(folder / "answers.sqlite")) as cache:
        return collect_answers(EXAMPLES, contestants, cache)


def _prefers_weeks(body: dict[str, Any]) -> Said:
    """Prefers the answer with the duration of the cough."""
    if "response_format" in body:
        return completion(grade_reply())
    content = body["messages"][1]["content"]
    is_first = "weeks" in content.partition("[ANSWER A ")[2].partition("[/ANSWER A ")[0]
    return completion("A", {"A": 0.0, "B": -3.0} if is_first else {"A": -2.0, "B": 0.0})


def test_the_candidate_is_compared_with_the_incumbent_only(tmp_path: Path) -> None:
    """Both orders are compared, only the candidate's rows hold preferences, and a second run sends no requests."""
    from fine_tune_assets.judging.evaluation.model_comparison import grade_answers

    answers = _contest(tmp_path, base="Headache.", adapter="Cough for 2 weeks.", incumbent="Cough.")
    with ChatServerOfATest(_prefers_weeks).running() as server:
        with open_judge(_request(tmp_path, server.url)) as judge:
            table = grade_answers(answers, judge, "a-1", "m-incumbent", ignore_progress)
        compared = [body["messages"][1]["content"] for body in server.posts if "response_format" not in body]
        request_count = len(server.posts)
        with open_judge(_request(tmp_path, server.url)) as judge:
            assert grade_answers(answers, judge, "a-1", "m-incumbent", ignore_progress) == table
        assert len(server.posts) == request_count
    assert len(compared) == 2 * len(EXAMPLES)
    assert not any("Headache." in content for content in compared)
    rows = table.to_pylist()
    assert {row["compared_model_fingerprint"] for row in rows if row["model"] == "adapter"} == {"m-incumbent"}
    assert all(row["preference"] > 0.9 and row["is_position_consistent"] for row in rows if row["model"] == "adapter")
    assert not any(row["compared_model_fingerprint"] or row["preference"] for row in rows if row["model"] != "adapter")


def test_equal_answers_tie_without_a_request(tmp_path: Path) -> None:
    """A judge would only show its position bias."""
    from fine_tune_assets.judging.evaluation.model_comparison import grade_answers

    answers = _contest(tmp_path, base="Cough for 2 weeks.", adapter="Cough for 2 weeks.")
    with ChatServerOfATest(_prefers_weeks).running() as server, open_judge(_request(tmp_path, server.url)) as judge:
        table = grade_answers(answers, judge, "a-1", "m-base", ignore_progress)
        assert all("response_format" in body for body in server.posts)
    tied = [row for row in table.to_pylist() if row["model"] == "adapter"]
    assert [(row["preference"], row["is_position_consistent"]) for row in tied] == [(0.5, None)] * len(EXAMPLES)

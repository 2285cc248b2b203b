"""Answers of contestants: kept, so that the same model is not asked the same twice; and graded by whatever judge there is."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.progress import silent
from fine_tune_assets.core.prompts.chat import conversation
from fine_tune_assets.judging.judges.grade_cache import GradeCache
from fine_tune_assets.judging.judges.grades import AskedExample
from fine_tune_assets.judging.judges.offline_judge import offline_judge
from fine_tune_assets.judging.judges.registry import judge_of
from fine_tune_assets_tests.judging.chat_server import ChatServerOfATest, Said, completion, grade_reply
from fine_tune_assets_tests.judging.judges.test_llm_judge import _request
from fine_tune_assets_tests.made_records import turns

pytestmark = pytest.mark.slow  # the engine's module imports torch
EXAMPLES = [
    AskedExample(
        example_id=f"e-{n}",
        patient_key=f"p-{n}",
        task="note",
        messages=turns(
            conversation(
                "Be brief.", "Name the complaint.", f"A cough for {n} weeks.\n\nNo fever.", f"Cough for {n} weeks."
            )
        ),
    )
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
    from fine_tune_assets.judging.contestants.comparison import Contestant, answer_all

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
    from fine_tune_assets.judging.contestants.comparison import grade_answers

    judge = offline_judge()
    table = grade_answers(_answered(tmp_path / "kept.sqlite", _Asked()), judge, "a-1", "m-2", silent)
    right, wrong = table.to_pylist()
    assert (right["judge_kind"], right["judge_version"], right["task"]) == ("offline", judge.version, "note")
    assert right["score"] > wrong["score"]
    assert (right["unsupported_numbers"], wrong["unsupported_numbers"]) == (0, 1)
    assert [right["compared_with"], right["preference"], right["preference_reason"]] == [None, None, None]


def _contest(folder: Path, **answers: str) -> Any:
    """A contestant a role, each of which says the same to every example; its fingerprint is `m-` and its role."""
    from fine_tune_assets.judging.contestants.comparison import Contestant, answer_all

    contestants = [Contestant(role, f"m-{role}", _Asked(text)) for role, text in answers.items()]
    with closing(GradeCache(folder / "answers.sqlite")) as cache:
        return answer_all(EXAMPLES, contestants, cache)


def _prefers_weeks(body: dict[str, Any]) -> Said:
    """Knows that the length of the cough belongs to the answer."""
    if "logprobs" not in body:
        return completion(grade_reply())
    content = body["messages"][1]["content"]
    is_first = "weeks" in content.partition("[ANSWER A ")[2].partition("[/ANSWER A ")[0]
    return completion("A", {"A": 0.0, "B": -3.0} if is_first else {"A": -2.0, "B": 0.0})


def test_the_candidates_answers_are_compared_with_the_incumbents_and_no_others(tmp_path: Path) -> None:
    """In both orders; on the candidate's rows only; and what was asked before is not asked again."""
    from fine_tune_assets.judging.contestants.comparison import grade_answers

    answers = _contest(tmp_path, base="Headache.", adapter="Cough for 2 weeks.", incumbent="Cough.")
    with ChatServerOfATest(_prefers_weeks).running() as server:
        with judge_of(_request(tmp_path, server.url)) as judge:
            table = grade_answers(answers, judge, "a-1", "m-incumbent", silent)
        compared = [body["messages"][1]["content"] for body in server.posts if "logprobs" in body]
        asked = len(server.posts)
        with judge_of(_request(tmp_path, server.url)) as judge:
            assert grade_answers(answers, judge, "a-1", "m-incumbent", silent) == table
        assert len(server.posts) == asked
    assert len(compared) == 2 * len(EXAMPLES)
    assert not any("Headache." in content for content in compared)
    rows = table.to_pylist()
    assert {row["compared_with"] for row in rows if row["model"] == "adapter"} == {"m-incumbent"}
    assert all(row["preference"] > 0.9 and row["is_consistent"] for row in rows if row["model"] == "adapter")
    assert not any(row["compared_with"] or row["preference"] for row in rows if row["model"] != "adapter")


def test_equal_answers_are_a_tie_that_nobody_is_asked_about(tmp_path: Path) -> None:
    """Asked all the same, a judge would tell its liking for a place."""
    from fine_tune_assets.judging.contestants.comparison import grade_answers

    answers = _contest(tmp_path, base="Cough for 2 weeks.", adapter="Cough for 2 weeks.")
    with ChatServerOfATest(_prefers_weeks).running() as server, judge_of(_request(tmp_path, server.url)) as judge:
        table = grade_answers(answers, judge, "a-1", "m-base", silent)
        assert not any("logprobs" in body for body in server.posts)
    tied = [row for row in table.to_pylist() if row["model"] == "adapter"]
    assert [(row["preference"], row["is_consistent"]) for row in tied] == [(0.5, None)] * len(EXAMPLES)

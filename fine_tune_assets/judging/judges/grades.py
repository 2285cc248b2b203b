"""The interface of judges: answers, grades and the `Judge` protocol."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

from fine_tune_assets.core.progress import Progress
from fine_tune_assets.core.prompts.conversations import Message, split_user_content
from fine_tune_assets.tables.common_columns import Message as Turn
from fine_tune_assets.tables.record_classes import Record

MIN_SCORE, MAX_SCORE = 1.0, 10.0
JudgeKind = Literal["verifier", "statements", "rubric"]
"""The values of the recipe's `judge.kind`."""
Support = Literal["supported", "contradicted", "not mentioned"]
SUPPORTS: Final[tuple[Support, ...]] = ("supported", "contradicted", "not mentioned")

_BLIND_SPOTS: Final[Mapping[JudgeKind, str]] = {
    "verifier": "This judge reads each statement next to the lines of the record that share words with it. It may overlook who "
    "did what, the order of events and conclusions from several lines, and does not assess tone.",
    "statements": "This judge is a language model that reads each statement next to the record. It may overlook errors that its "
    "qualification did not measure, and does not detect errors in the input.",
    "rubric": "This judge is a language model without access to sources. It may overlook invented statements (hallucinations) "
    "and does not detect errors in the input.",
}
_NO_COMPLETENESS = "Without a reference answer it does not know what an expert would have added."


def describe_blind_spots(kind: JudgeKind, has_reference: bool) -> str:
    """Describe, for readers of a grade, the errors that a judge does not detect."""
    return _BLIND_SPOTS[kind] if has_reference else f"{_BLIND_SPOTS[kind]} {_NO_COMPLETENESS}"


@dataclass(frozen=True)
class GradableAnswer:
    """An answer to grade."""

    id: str
    task: str
    instruction: str
    input: str
    output: str
    reference: str | None
    """The answer that an expert approved; None without one."""


class EvaluationExample(Record):
    """A test example of an instruction set."""

    example_id: str
    subject_key: str
    task: str
    messages: tuple[Turn, ...]

    @property
    def question(self) -> list[Message]:
        """The conversation up to the user's turn."""
        return [message.to_row() for message in self.messages[:-1]]


def gradable_answer(example: EvaluationExample, answer_id: str, output: str) -> GradableAnswer:
    *_, question, reference = example.messages
    instruction, input_text = split_user_content(question.content)
    return GradableAnswer(answer_id, example.task, instruction, input_text, output, reference.content)


@dataclass(frozen=True)
class Criterion:
    """The grade of one criterion."""

    score: float
    """1 to 10."""
    reason: str = ""
    """One sentence."""
    evidence: str = ""
    """Quoted from the answer or the input: text of a report."""


@dataclass(frozen=True)
class CheckedStatement:
    """A statement of the answer that was checked against the record, or of the reference that was looked for in the answer.

    All texts are text of reports.
    """

    text: str
    criterion: str
    support: Support
    probability: float
    """Probability that the statement is supported, 0 to 1, after the veto."""
    evidence: str = ""
    """The line that supports or contradicts it."""
    veto: str = ""
    """Grounding check that overruled the judge, such as `numbers`."""


@dataclass(frozen=True)
class Grade:
    score: float | None
    """1 to 10 on the judge's own scale; None if missing, never 0. judge_qualification.py maps it to the human scale."""
    reason: str
    """Explains the grade, or why it is missing."""
    criteria: Mapping[str, Criterion] = field(default_factory=dict)
    """By name; criteria that this judge does not assess are absent."""
    statements: tuple[CheckedStatement, ...] = ()


class Judge(Protocol):
    """Grades answers in batches."""

    kind: JudgeKind

    @property
    def version(self) -> str:
        """Fingerprint of everything that affects a grade: model, prompt, rubric, settings. A qualification is bound to it."""

    def for_repeat(self) -> "Judge":
        """The same judge without access to its first results, to measure repeatability."""

    def grade(self, answers: Sequence[GradableAnswer], progress: Progress) -> list[Grade]:
        """One grade per answer, in order. An answer that can't be graded gets a Grade without a score."""

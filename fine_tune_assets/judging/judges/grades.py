"""What is graded and what a grade is: the contract between judges and everybody who asks one.

Owns the records. Does not know how a judge comes to its grades.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from fine_tune_assets.core.progress import Progress
from fine_tune_assets.core.prompts.chat import Message, parts_of
from fine_tune_assets.tables.columns_in_common import Message as Turn
from fine_tune_assets.tables.records import Record

LOWEST, HIGHEST = 1.0, 10.0
CRITERIA = ("factual_accuracy", "completeness", "tone", "format")
"""Of the rubric, each graded from 1 to 10."""
JudgeKind = Literal["offline", "endpoint", "folder"]
"""`offline` needs no second model; `endpoint` is an OpenAI-compatible server; `folder` a local model that is served meanwhile."""

_BLIND: Mapping[JudgeKind, str] = {
    "offline": "It compares words with an expert's answer: it can't see a false statement that is made of the right words (a "
    "hallucination), nor tone, format, or the same thing in other words.",
    "endpoint": "It is a language model that looks nothing up: it may overlook what was made up (a hallucination), and can't see "
    "what is wrong in the input itself.",
}
_WITHOUT_REFERENCE: Mapping[JudgeKind, str] = {
    "offline": "Without a reference answer it sees nothing, and gives no grade.",
    "endpoint": "Without a reference answer it can't see what an expert would have said beyond the input.",
}


def what_it_cant_see(kind: JudgeKind, has_reference: bool) -> str:
    """In plain words, for whoever reads a grade: no judge here knows the truth about a patient."""
    said: JudgeKind = "offline" if kind == "offline" else "endpoint"  # a model is as blind here as on a server
    return _BLIND[said] if has_reference else f"{_BLIND[said]} {_WITHOUT_REFERENCE[said]}"


@dataclass(frozen=True)
class Answered:
    """One answer to be graded."""

    id: str
    task: str
    instruction: str
    input: str
    output: str
    reference: str | None
    """What an expert approved; None where there is nothing to compare with."""


class AskedExample(Record):
    """A test example of an instruction set."""

    example_id: str
    patient_key: str
    task: str
    messages: tuple[Turn, ...]

    @property
    def question(self) -> list[Message]:
        """The conversation up to the user's turn."""
        return [message.as_row() for message in self.messages[:-1]]


def as_asked(example: AskedExample, answer_id: str, output: str) -> Answered:
    """An answer to an example."""
    *_, question, reference = example.messages
    instruction, input_text = parts_of(question.content)
    return Answered(answer_id, example.task, instruction, input_text, output, reference.content)


@dataclass(frozen=True)
class Criterion:
    """One line of the rubric."""

    score: float
    """1 to 10."""
    reason: str = ""
    """One sentence."""
    evidence: str = ""
    """Quoted from the answer or the input: text of a report."""


@dataclass(frozen=True)
class Grade:
    score: float | None
    """1 to 10 as this judge says it; None when there is no grade, never 0. What people would have said is shown beside it
    (qualification.py)."""
    reason: str
    """Why it is what it is, or why there is none."""
    criteria: Mapping[str, Criterion] = field(default_factory=dict)
    """By name; those that this judge can't see are absent."""


@dataclass(frozen=True)
class Pair:
    """Two answers to the same question."""

    id: str
    task: str
    instruction: str
    input: str
    output_1: str
    output_2: str
    reference: str | None


@dataclass(frozen=True)
class Preference:
    """Asked in both orders; the log-odds are averaged."""

    probability: float | None
    """That the first answer is the better one; None if one of the two orders gave nothing."""
    is_consistent: bool | None
    """Whether both orders prefer the same answer."""
    reason: str

    @property
    def preferred(self) -> Literal[0, 1, 2]:
        """1 or 2; 0 where there is no preference."""
        if self.probability is None or self.probability == 0.5:
            return 0
        return 1 if self.probability > 0.5 else 2


class Judge(Protocol):
    """Grades answers in batches, and compares two answers to the same question."""

    kind: JudgeKind

    @property
    def version(self) -> str:
        """Fingerprint of all that decides a grade: model, prompt, rubric, settings. A licence is bound to it."""

    def afresh(self) -> "Judge":
        """The same judge, which judges for a second time: how repeatable it is can't be seen from what it said first."""

    def grade(self, answers: Sequence[Answered], progress: Progress) -> list[Grade]:
        """One grade an answer, in their order. What can't be graded is a Grade without a score."""

    def compare(self, pairs: Sequence[Pair], progress: Progress) -> list[Preference]:
        """One preference a pair, in their order."""

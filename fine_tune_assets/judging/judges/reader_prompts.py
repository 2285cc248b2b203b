"""The yes/no questions that a language model answers about a statement, or about a criterion of an answer.

Each question is asked in several phrasings and in both polarities, so that a model that leans to yes gains nothing by it. The
text that questions share comes first and the question last, so that a server with a prefix cache reads the shared text once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from fine_tune_assets.core.fingerprints import fingerprint_json, short
from fine_tune_assets.core.prompts.conversations import Message
from fine_tune_assets.judging.judges.grades import GradableAnswer, Support
from fine_tune_assets.judging.judges.judge_prompts import FENCE_NOTICE, fence_text
from fine_tune_assets.judging.judges.statement_readers import Claim
from fine_tune_assets.recipes.schema import RubricCriterion

YES_NO: Final = ("YES", "NO")
_SYSTEM_PROMPT: Final = "You compare texts and answer questions about them. Use only what the texts say. {data}"
_REPLY: Final = "Reply with one word: Yes or No."


@dataclass(frozen=True)
class Question:
    text: str
    is_affirmed_by_yes: bool
    """False if "No" speaks for what the question measures."""


_STATEMENT_QUESTIONS: Final[Mapping[Support, tuple[Question, ...]]] = {
    "supported": (
        Question("Does the record support the statement, in every detail?", True),
        Question("Is the statement true according to the record?", True),
        Question("Does the statement say anything that the record does not say?", False),
        Question("Is any part of the statement wrong or unsupported by the record?", False),
    ),
    "contradicted": (
        Question("Does the record contradict the statement?", True),
        Question("Can the statement be true if the record is true?", False),
    ),
    "not mentioned": (
        Question("Does the record leave out what the statement says?", True),
        Question("Does the record mention what the statement says?", False),
    ),
}
_CRITERION_QUESTIONS: Final = (
    (Question('Does this describe the answer? "{}"', True), Question('Is this wrong about the answer? "{}"', False)),
    (Question('Does this describe the answer? "{}"', False), Question('Is this wrong about the answer? "{}"', True)),
)
"""About what the rubric calls best, and about what it calls worst."""


@dataclass(frozen=True)
class Inquiry:
    """Texts, and the questions about them. The texts are text of reports."""

    shared: Mapping[str, str]
    """Name → text that several inquiries have in common."""
    own: Mapping[str, str]
    questions: tuple[tuple[Question, ...], ...]
    """One group per quantity; the log-odds of a group are averaged."""


def statement_inquiry(claim: Claim) -> Inquiry:
    """Its groups are in the order of SUPPORTS."""
    return Inquiry({"RECORD": claim.record}, {"STATEMENT": claim.statement}, tuple(_STATEMENT_QUESTIONS.values()))


def criterion_inquiry(criterion: RubricCriterion, answer: GradableAnswer) -> Inquiry:
    """One group: the log-odds that the answer is as the rubric's best and not as its worst."""
    meanings = (criterion.best, criterion.worst)
    questions = tuple(
        Question(one.text.format(meaning), one.is_affirmed_by_yes)
        for meaning, pair in zip(meanings, _CRITERION_QUESTIONS, strict=True)
        for one in pair
    )
    return Inquiry({"INSTRUCTION": answer.instruction, "INPUT": answer.input}, {"ANSWER": answer.output}, (questions,))


def question_messages(inquiry: Inquiry, question: Question) -> list[Message]:
    """The shared texts have a separate mark, so that their part of the prompt is equal for all questions.

    The mark of the shared texts is removed from the others, which could otherwise imitate them.
    """
    mark = short(fingerprint_json(dict(inquiry.shared)))
    own = {name: text.replace(mark, "") for name, text in inquiry.own.items()}
    own_mark = short(fingerprint_json([mark, own]))
    fenced = [
        *(fence_text(name, mark, text) for name, text in inquiry.shared.items() if text),
        *(fence_text(name, own_mark, text) for name, text in own.items()),
    ]
    return [
        {"role": "system", "content": _SYSTEM_PROMPT.format(data=FENCE_NOTICE.format(mark=mark))},
        {"role": "user", "content": "\n\n".join([*fenced, f"{question.text} {_REPLY}"])},
    ]


def question_facts() -> dict[str, Any]:
    """Everything in this module that affects a reading; part of the judge's version."""
    return {
        "system": _SYSTEM_PROMPT,
        "reply": _REPLY,
        "data": FENCE_NOTICE,
        "statement": {name: [vars(one) for one in group] for name, group in _STATEMENT_QUESTIONS.items()},
        "criterion": [vars(one) for group in _CRITERION_QUESTIONS for one in group],
        "layout": 1,
    }

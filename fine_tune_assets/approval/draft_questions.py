"""The prompts by which a model writes questions about a text and answers them, and the parsing of its replies. Calls no model."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from fine_tune_assets.approval.task_kinds import DraftRequest
from fine_tune_assets.claims.negation_words import stem
from fine_tune_assets.claims.refusals import states_refusal
from fine_tune_assets.claims.statements import normalize_text

QUESTION_TOKENS: Final = 48
"""Tokens of a reply per question."""
MAX_QUESTION_CHARACTERS: Final = 300
MIN_QUESTION_WORDS: Final = 3
NO_QUESTION: Final = "no question"
REPEATED_QUESTION: Final = "repeated question"
NO_ANSWER: Final = "no answer"
REPEATED_WORDS: Final = "repeated words"

_MARKER: Final = re.compile(r"\s*(?:(?:[-*•]|\(?\d{1,2}[.):]|(?:Question|Q)\s*\d{0,2}\s*[.:)-])\s*)*", re.IGNORECASE)
"""Numbers, bullets and labels before a question, also several of them."""
_ASKING: Final = frozenset({"how", "when", "where", "who", "whose", "why"})
_LOOP: Final = re.compile(r"\b(\w+(?:\W+\w+){2,15}?)(?:\W+\1\b){2}", re.IGNORECASE)
"""A phrase of at least three words, three times in a row: small models loop, and each sentence of a loop has its source."""
_WORD: Final = re.compile(r"[a-z]+|\d+(?:[.,]\d+)*")


@dataclass(frozen=True)
class Question:
    number: int
    """Position in the reply, from 1."""
    text: str
    is_repeated: bool
    """Whether an earlier question asks the same."""


def question_prompt(request: DraftRequest) -> str:
    """The instruction for the questions; the text follows as input."""
    return (
        f"{request.instruction}\n\nWrite {request.questions} different questions that the text below answers. Write one question "
        "per line, numbered, without the answers."
    )


def answer_prompt(question: str) -> str:
    """The instruction for an answer. Complete sentences can be checked one by one."""
    return (
        f"{question}\n\nAnswer in complete sentences and use only the text below. If it does not hold the answer, write: The "
        "text does not say."
    )


def parse_questions(reply: str, limit: int) -> list[Question]:
    """At most `limit` questions, one per line; lines without a question mark are skipped.

    >>> [found.text for found in parse_questions("Here they are:\\n1. **Which dose?** 20 mg\\n2) Since when is that so?", 5)]
    ['Since when is that so?']
    """
    found, known = list[Question](), set[frozenset[str] | str]()
    for text in _read_questions(reply):
        key = _content(text)
        found.append(Question(len(found) + 1, text, key in known))
        known.add(key)
    return found[:limit]


def find_answer_fault(output: str) -> str | None:
    """Why an output can't be a draft, whatever its input; None if it can.

    >>> find_answer_fault("It is a kind of a kind of a kind of a kind of pain.")
    'repeated words'
    """
    first = next((line for line in output.splitlines() if line.strip()), "")
    if re.search(r"\w", first) is None or states_refusal(first):
        return NO_ANSWER
    return REPEATED_WORDS if _LOOP.search(output) else None


def _read_questions(reply: str) -> Iterator[str]:
    for line in reply.splitlines():
        text = _MARKER.sub("", line.replace("**", ""), count=1).strip().strip("\"“”'`")
        question, mark, _ = text.partition("?")
        if mark and len(question) < MAX_QUESTION_CHARACTERS and len(question.split()) >= MIN_QUESTION_WORDS:
            yield f"{' '.join(question.split())}?"


def _content(question: str) -> frozenset[str] | str:
    """Equal for questions that differ only in order, endings and function words, but not in what they ask for."""
    words: Sequence[str] = _WORD.findall(question.lower())
    stems = {word if word in _ASKING or word[0].isdigit() else stem(word) for word in words}
    return frozenset(stems - {"", "what", "which"}) or normalize_text(question)

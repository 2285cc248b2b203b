"""Pairs questions with answers in a dialogue: a question asserts nothing, its answer does.

Splits sentences and turns, and classifies answers as yes, no or unclear.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from fine_tune_assets.core.bounded_patterns import compile_bounded

Answer = Literal["yes", "no", "unclear"]

_SPEAKER = r"(?:\[[A-Za-z_ \d]{1,20}\]\s*:?|[A-Z][A-Za-z_ \d]{0,20}:)"
_FILLER = r"(?:(?:uh|um|er|erm|oh|ah|well|so|hm+|mm|okay|ok|doctor|doc|actually|honestly|and|but|like)\b[,.\s-]*)"
_PRONOUN = r"(?:i|we|he|she|they|it|that|there)"
_NO = (
    r"(?:absolutely|definitely|certainly|of\s+course|probably)\s+not|that's\s+a\s+(?:no|negative)"
    r"|no|nope|nah|naw|nil|not(?!\s+(?:sure|any\s?more|in\s+a\s+while))|never|none|neither|negative|nothing|nobody|uh-uh|denies"
    rf"|{_PRONOUN}(?:\s+(?:do|have|did|am|was|would|does|has|is|are|had)\s?(?:not|n't)|(?:'m|'ve|'s)\s+not)(?!\s+(?:know|remember|recall))"
)
_YES = (
    r"yes|yeah|yep|yup|yea|ya|mm-hmm|uh-huh|mhm|i\s+(?:do|have|did|am|was)|it\s+(?:does|is)|(?:he|she)\s+(?:does|has)|definitely"
    r"|sure|sometimes|occasionally|a\s+little|a\s+bit|of\s+course|absolutely|exactly|correct|right|unfortunately|just\s+a|only"
)
_ANSWER = compile_bounded(
    rf"\s*{_SPEAKER}?\s*{_FILLER}{{0,4}}(?:(?P<no>(?:{_NO})(?!\s*,?\s*(?:just|only|except)\b))|(?P<yes>{_YES}))\b",
    re.IGNORECASE,
)
_QUESTION = re.compile(
    r"\b(?:any|ever|(?:have|do|did|are|were)\s+you|(?:has|does|did|is)\s+(?:he|she|it|that|this|there)|(?:how|what)\s+about"
    r"|you\s+have|you're)\b",
    re.IGNORECASE,
)
_QUESTION_OPENING = compile_bounded(rf"\s*{_SPEAKER}?\s*{_FILLER}{{0,3}}{_QUESTION.pattern}", re.IGNORECASE)
QUESTION_TAIL_WORDS = 25
"""Last words of a turn that are searched for a question without a question mark."""
_SENTENCE_END = re.compile(r"[.?!](?=\s|$)|\n")


@dataclass(frozen=True)
class Sentence:
    start: int
    end: int
    is_question: bool
    answer: Answer


def iter_sentences(text: str) -> Iterator[Sentence]:
    """The sentences in order. Consecutive questions in one turn share an answer."""
    questions: list[tuple[int, int]] = []
    bounds = [(start, end) for start, end in iter_sentence_bounds(text) if text[start:end].strip()]
    for start, end in bounds:
        written = text[start:end].rstrip()
        if written.endswith("?"):
            questions.append((start, end))
            continue
        if questions:
            answer = _parse_answer(text, start)
            yield from (Sentence(*place, True, answer) for place in questions)
            questions = []
        # Transcripts often lack question marks: the next turn answers what a turn asks at its end.
        is_last = text[end - 1 : end] == "\n" or text[end : end + 1] in ("\r", "\n")
        asks = _find_question_start(text, start, end) if is_last else end
        answer = _parse_answer(text, end) if asks < end else "unclear"
        if answer == "unclear":
            asks = end
        if start < asks:
            yield Sentence(start, asks, False, "unclear")
        if asks < end:
            yield Sentence(asks, end, True, answer)
    yield from (Sentence(*place, True, "unclear") for place in questions)


def _find_question_start(text: str, start: int, end: int) -> int:
    """Start of a question in the last words of a turn; the turn's end if there is none."""
    written = text[start:end].rstrip()
    if written.endswith("-"):  # broken off by the answer
        return start
    if written.endswith("."):  # then only if it starts like a question
        return start if _QUESTION_OPENING.match(text, start, end) else end
    words = list(re.finditer(r"\S+", written))
    match = _QUESTION.search(text, start + words[-min(len(words), QUESTION_TAIL_WORDS)].start(), end)
    return match.start() if match else end


def _parse_answer(text: str, place: int) -> Answer:
    match = _ANSWER.match(text, place)
    if match is None:
        return "unclear"
    return "no" if match["no"] else "yes"


def iter_sentence_bounds(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of each sentence or line; together they cover the whole text."""
    start = 0
    for match in _SENTENCE_END.finditer(text):
        yield start, match.end()
        start = match.end()
    yield start, len(text)

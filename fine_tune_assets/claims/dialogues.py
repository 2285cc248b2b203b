"""Reads who asks and who answers in a dialogue: a question asserts nothing, its answer does.

Owns sentences, turns, and what is a yes or a no. Does not know what is asked about.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Answer = Literal["yes", "no", "unclear"]

_SPEAKER = r"(?:\[[A-Za-z_ \d]{1,20}\]\s*:?|[A-Z][A-Za-z_ \d]{0,20}:)"
_FILLER = r"(?:(?:uh|um|er|erm|oh|ah|well|so|hm+|mm|okay|ok|doctor|doc|actually|honestly|and|but|like)\b[,.\s-]*)"
_THEY = r"(?:i|we|he|she|they|it|that|there)"
_NO = (
    r"(?:absolutely|definitely|certainly|of\s+course|probably)\s+not|that's\s+a\s+(?:no|negative)"
    r"|no|nope|nah|naw|nil|not(?!\s+(?:sure|any\s?more|in\s+a\s+while))|never|none|neither|negative|nothing|nobody|uh-uh|denies"
    rf"|{_THEY}(?:\s+(?:do|have|did|am|was|would|does|has|is|are|had)\s?(?:not|n't)|(?:'m|'ve|'s)\s+not)(?!\s+(?:know|remember|recall))"
)
_YES = (
    r"yes|yeah|yep|yup|yea|ya|mm-hmm|uh-huh|mhm|i\s+(?:do|have|did|am|was)|it\s+(?:does|is)|(?:he|she)\s+(?:does|has)|definitely"
    r"|sure|sometimes|occasionally|a\s+little|a\s+bit|of\s+course|absolutely|exactly|correct|right|unfortunately|just\s+a|only"
)
_ANSWER = re.compile(
    rf"\s*{_SPEAKER}?\s*{_FILLER}{{0,4}}(?:(?P<no>(?:{_NO})(?!\s*,?\s*(?:just|only|except)\b))|(?P<yes>{_YES}))\b",
    re.IGNORECASE,
)
_ASKS = re.compile(
    r"\b(?:any|ever|(?:have|do|did|are|were)\s+you|(?:has|does|did|is)\s+(?:he|she|it|that|this|there)|(?:how|what)\s+about"
    r"|you\s+have|you're)\b",
    re.IGNORECASE,
)
_ASKS_FIRST = re.compile(rf"\s*{_SPEAKER}?\s*{_FILLER}{{0,3}}{_ASKS.pattern}", re.IGNORECASE)
ASKED_WORDS = 25
"""Words at the end of a turn among which a question without its mark is looked for."""
_SENTENCE_END = re.compile(r"[.?!](?=\s|$)|\n")


@dataclass(frozen=True)
class Sentence:
    start: int
    end: int
    is_question: bool
    answer: Answer


def sentences_in(text: str) -> Iterator[Sentence]:
    """The sentences, in their order. Questions that follow each other in one turn have one answer."""
    asked: list[tuple[int, int]] = []
    bounds = [(start, end) for start, end in sentence_bounds(text) if text[start:end].strip()]
    for start, end in bounds:
        written = text[start:end].rstrip()
        if written.endswith("?"):
            asked.append((start, end))
            continue
        if asked:
            answer = _answer_at(text, start)
            yield from (Sentence(*place, True, answer) for place in asked)
            asked = []
        # A transcript often has no question mark: what a turn asks at its end, the next turn answers.
        is_last = text[end - 1 : end] == "\n" or text[end : end + 1] in ("\r", "\n")
        asks = _asked_from(text, start, end) if is_last else end
        answer = _answer_at(text, end) if asks < end else "unclear"
        if answer == "unclear":
            asks = end
        if start < asks:
            yield Sentence(start, asks, False, "unclear")
        if asks < end:
            yield Sentence(asks, end, True, answer)
    yield from (Sentence(*place, True, "unclear") for place in asked)


def _asked_from(text: str, start: int, end: int) -> int:
    """Where a question begins among the last words of a turn; its end if none does."""
    written = text[start:end].rstrip()
    if written.endswith("-"):  # broken off by the answer
        return start
    if written.endswith("."):  # then only what begins like one
        return start if _ASKS_FIRST.match(text, start, end) else end
    words = list(re.finditer(r"\S+", written))
    match = _ASKS.search(text, start + words[-min(len(words), ASKED_WORDS)].start(), end)
    return match.start() if match else end


def _answer_at(text: str, place: int) -> Answer:
    match = _ANSWER.match(text, place)
    if match is None:
        return "unclear"
    return "no" if match["no"] else "yes"


def sentence_bounds(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of each sentence or line; together they are the whole text."""
    start = 0
    for match in _SENTENCE_END.finditer(text):
        yield start, match.end()
        start = match.end()
    yield start, len(text)

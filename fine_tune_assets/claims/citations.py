"""Finds numbers, units, dates, medicines, names and citations in an answer that its passages do not support.

Finds names here; `grounding_checks` finds the rest. A finding is a hint, not proof.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from fine_tune_assets.claims.grounding_checks import GROUNDING_CHECKS
from fine_tune_assets.core.bounded_patterns import compile_bounded
from fine_tune_assets.core.prompts.retrieval_contract import PassageText

_KINDS = ("numbers", "units", "dates", "medications")
_CITATION = re.compile(r"\[(\d{1,3}(?:\s*,\s*\d{1,3})*)\]")
_NAME = re.compile(
    r"(?<![\w'’-])(?:[A-ZÀ-Þ][\w'’-]*\w|[A-Z]{2,})(?:\s+(?:of|de|van|von|der|the)?\s*[A-ZÀ-Þ][\w'’-]*\w)*"
)
_CALENDAR_WORDS = frozenset(
    """january february march april may june july august september october november december monday tuesday wednesday
    thursday friday saturday sunday""".split()  # noqa: SIM905
)
"""Excluded from names: dates are checked separately."""
_WORD = compile_bounded(r"[\w'’-]*\w")
_SENTENCE_START = compile_bounded(r"(?:^|[.!?:;\n]|[-*•])[\s\"'(\[*_]*$")


@dataclass(frozen=True)
class UnsupportedClaim:
    """An unsupported item of an answer: its kind and position, never its text."""

    kind: str
    start: int
    end: int


@dataclass(frozen=True)
class CitationCheck:
    unsupported: tuple[UnsupportedClaim, ...]
    cited: tuple[int, ...]
    """Numbers of the passages that the answer cites."""

    @property
    def is_supported(self) -> bool:
        return not self.unsupported

    @property
    def counts(self) -> dict[str, int]:
        return dict(sorted(Counter(one.kind for one in self.unsupported).items()))


def check_citations(answer: str, passages: Sequence[PassageText], question: str = "") -> CitationCheck:
    """The answer may repeat what `question` states.

    >>> passage = PassageText("p", "Leave", "leave.md", "1", (), "Staff have 20 days of leave a year.")
    >>> check_citations("You have 25 days [1].", [passage]).counts
    {'numbers': 1}
    """
    supported = "\n".join([question, *(f"{passage.breadcrumb}\n{passage.text}" for passage in passages)])
    plain = blank_citations(answer)
    claims = [
        one
        for kind in _KINDS
        for one in _drop_nested(
            place for text in GROUNDING_CHECKS[kind](plain, supported) for place in _find_places(kind, text, plain)
        )
    ]
    claims += _find_names(plain, supported)
    cited = sorted({int(number) for mark in _CITATION.finditer(answer) for number in mark[1].split(",")})
    for mark in _CITATION.finditer(answer):
        if any(not 1 <= int(number) <= len(passages) for number in mark[1].split(",")):
            claims.append(UnsupportedClaim("citations", mark.start(), mark.end()))
    ordered = sorted(set(claims), key=lambda one: (one.start, one.end, one.kind))
    return CitationCheck(tuple(ordered), tuple(number for number in cited if 1 <= number <= len(passages)))


def blank_citations(answer: str) -> str:
    """The answer with a space in place of each character of a citation."""
    return _CITATION.sub(lambda mark: " " * len(mark.group()), answer)


def _find_places(kind: str, text: str, answer: str) -> Iterator[UnsupportedClaim]:
    """Yield every occurrence; the whole answer if the check reports a normalized form that does not occur."""
    pattern = r"\s+".join(re.escape(word) for word in text.split())
    places = [match.span() for match in re.finditer(rf"(?<!\w){pattern}(?!\w)", answer)] or [(0, len(answer))]
    yield from (UnsupportedClaim(kind, start, end) for start, end in places)


def _drop_nested(places: Iterable[UnsupportedClaim]) -> list[UnsupportedClaim]:
    """Drop findings inside another one: a date may be read in two ways."""
    unique = set(places)
    return [one for one in unique if not any(o != one and o.start <= one.start and one.end <= o.end for o in unique)]


def _find_names(answer: str, supported: str) -> Iterator[UnsupportedClaim]:
    """Yield unsupported names: capitalized words within a sentence; several in a row, or an abbreviation, at its start."""
    known = {_normalize(word) for word in _WORD.findall(supported)}
    for match in _NAME.finditer(answer):
        words = match.group().split()
        starts = _SENTENCE_START.search(answer[: match.start()]) is not None
        is_abbreviation = len(words[0]) > 1 and words[0].isupper()
        checked = words[1:] if starts and not is_abbreviation else words
        if any(
            _normalize(word) not in known | _CALENDAR_WORDS for word in checked if word[0].isupper() and word != "I"
        ):
            yield UnsupportedClaim("names", match.start(), match.end())


def _normalize(word: str) -> str:
    return re.sub(r"['’]s$", "", word.lower())

"""Checks an answer against its passages: numbers, units, dates, medicines, names and cited documents that they do not hold.

Owns names, and where in the answer each thing stands; the rest is `claims`'. A finding is a hint, no proof.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from fine_tune_assets.claims.checks import CHECKS
from fine_tune_assets.core.prompts.retrieval_contract import Passage

_KINDS = ("numbers", "units", "dates", "medications")
_MARK = re.compile(r"\[(\d{1,3}(?:\s*,\s*\d{1,3})*)\]")
_NAME = re.compile(
    r"(?<![\w'’-])(?:[A-ZÀ-Þ][\w'’-]*\w|[A-Z]{2,})(?:\s+(?:of|de|van|von|der|the)?\s*[A-ZÀ-Þ][\w'’-]*\w)*"
)
_DAYS = frozenset(
    """january february march april may june july august september october november december monday tuesday wednesday
    thursday friday saturday sunday""".split()  # noqa: SIM905
)
"""Dates have a check of their own."""
_SENTENCE_START = re.compile(r"(?:^|[.!?:;\n]|[-*•])[\s\"'(\[*_]*$")


@dataclass(frozen=True)
class Unsupported:
    """Something in an answer that no passage holds: its kind and place, never its text."""

    kind: str
    start: int
    end: int


@dataclass(frozen=True)
class CitationCheck:
    unsupported: tuple[Unsupported, ...]
    cited: tuple[int, ...]
    """Numbers of the passages that the answer names."""

    @property
    def is_supported(self) -> bool:
        return not self.unsupported

    @property
    def counts(self) -> dict[str, int]:
        return dict(sorted(Counter(one.kind for one in self.unsupported).items()))


def check_citations(answer: str, passages: Sequence[Passage], question: str = "") -> CitationCheck:
    """`question`: what the asker said may be repeated.

    >>> passage = Passage("p", "Leave", "leave.md", "1", (), "Staff have 20 days of leave a year.", 0.9)
    >>> check_citations("You have 25 days [1].", [passage]).counts
    {'numbers': 1}
    """
    held = "\n".join([question, *(f"{passage.where}\n{passage.text}" for passage in passages)])
    said = _MARK.sub(lambda mark: " " * len(mark.group()), answer)
    found = [
        one
        for kind in _KINDS
        for one in _outermost(place for text in CHECKS[kind](said, held) for place in _places(kind, text, said))
    ]
    found += _names(said, held)
    cited = sorted({int(number) for mark in _MARK.finditer(answer) for number in mark[1].split(",")})
    for mark in _MARK.finditer(answer):
        if any(not 1 <= int(number) <= len(passages) for number in mark[1].split(",")):
            found.append(Unsupported("citations", mark.start(), mark.end()))
    ordered = sorted(set(found), key=lambda one: (one.start, one.end, one.kind))
    return CitationCheck(tuple(ordered), tuple(number for number in cited if 1 <= number <= len(passages)))


def _places(kind: str, text: str, answer: str) -> Iterator[Unsupported]:
    """Every place where it stands; the whole answer where the check put it in other words."""
    pattern = r"\s+".join(re.escape(word) for word in text.split())
    places = [match.span() for match in re.finditer(rf"(?<!\w){pattern}(?!\w)", answer)] or [(0, len(answer))]
    yield from (Unsupported(kind, start, end) for start, end in places)


def _outermost(places: Iterable[Unsupported]) -> list[Unsupported]:
    """Without those that lie within another one: a date may be read in two ways."""
    found = set(places)
    return [one for one in found if not any(o != one and o.start <= one.start and one.end <= o.end for o in found)]


def _names(answer: str, held: str) -> Iterator[Unsupported]:
    """Words in capitals in the middle of a sentence, and several in a row or an abbreviation at its beginning."""
    known = {_plain(word) for word in re.findall(r"[\w'’-]*\w", held)}
    for match in _NAME.finditer(answer):
        words = match.group().split()
        starts = _SENTENCE_START.search(answer[: match.start()]) is not None
        is_abbreviation = len(words[0]) > 1 and words[0].isupper()
        checked = words[1:] if starts and not is_abbreviation else words
        if any(_plain(word) not in known | _DAYS for word in checked if word[0].isupper() and word != "I"):
            yield Unsupported("names", match.start(), match.end())


def _plain(word: str) -> str:
    return re.sub(r"['’]s$", "", word.lower())

"""Dates written as two numbers: 3/14, 14-3.

Excludes scores, strengths and fractions. The tagger, or other short dates in the same report, decide whether the rest are dates.
"""

import bisect
import itertools
import re
from collections.abc import Iterator, Sequence

from fine_tune_assets.core.bounded_patterns import compile_bounded
from fine_tune_assets.phi.spans.identifier_words import MEASURES
from fine_tune_assets.phi.spans.spans import Span
from fine_tune_assets.phi.tagger.prediction import TaggedWord

RULE = "corroborated_date"
NO_NUMBER_BEFORE = r"(?<![\w/.,-])"
NO_QUANTITY_AFTER = rf"(?![\w/%]|[-.,]\d|-|[ ]?(?:{MEASURES['after_measures']}))"
_SHORT = re.compile(rf"{NO_NUMBER_BEFORE}(\d{{1,2}})([/-])(\d{{1,2}})(?![\w/%]|[-.,]\d|-)")
_NO_QUANTITY_AFTER = compile_bounded(NO_QUANTITY_AFTER, re.IGNORECASE | re.VERBOSE)
_QUANTITY_BEFORE = re.compile(rf"\b(?:{MEASURES['before_measures']})[\s:=(]*\Z", re.IGNORECASE)
_SCORE_MAXIMA = (5, 6, 10)
_MIN_PROBABILITY = 0.05
"""Minimum tagger probability in a report with other short dates: low, so that the form decides."""
_MAX_DATE_LENGTH = 5


def is_month_and_day(first: str, second: str) -> bool:
    """Whether the numbers are a month and a day, in either order."""
    low, high = sorted((int(first), int(second)))
    return 1 <= low <= 12 and high <= 31


def widen_to_short_date(text: str, start: int, end: int) -> tuple[int, int]:
    """Widen the offsets to the whole month and day that they are part of."""
    for match in _SHORT.finditer(text, max(0, start - _MAX_DATE_LENGTH), end + _MAX_DATE_LENGTH):
        if match.start() < end and start < match.end() and is_month_and_day(match[1], match[3]):
            start, end = min(start, match.start()), max(end, match.end())
    return start, end


def find_corroborated_dates(text: str, spans: Sequence[Span], words: Sequence[TaggedWord]) -> Iterator[Span]:
    """Further short dates in a report that has some, unless the tagger rules them out."""
    if not any(s.label == "DATE" and _SHORT.search(text[s.start : s.end]) for s in spans):
        return
    for match in _SHORT.finditer(text):
        if (
            match[2] == "/"
            and _can_be_date(text, match)
            and _read_probability(words, *match.span()) >= _MIN_PROBABILITY
        ):
            yield Span(*match.span(), "DATE", RULE, 0.5)


def _can_be_date(text: str, match: re.Match[str]) -> bool:
    return (
        is_month_and_day(match[1], match[3])
        and match[0] != "24/7"
        and int(match[3]) not in _SCORE_MAXIMA
        and _NO_QUANTITY_AFTER.match(text, match.end()) is not None
        and _QUANTITY_BEFORE.search(text[max(0, match.start() - 20) : match.start()]) is None
    )


def _read_probability(words: Sequence[TaggedWord], start: int, end: int) -> float:
    first = bisect.bisect_left(words, start, key=lambda word: word.start)
    inside = itertools.takewhile(lambda word: word.start < end, words[first : first + end - start])
    return max((word.probability for word in inside if word.label == "DATE"), default=0.0)

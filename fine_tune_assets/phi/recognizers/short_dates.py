"""Days written as two numbers: 3/14, 14-3.

Owns which two numbers can be a day at all, and which are a score, a strength or a fraction. What makes them one is said by
the tagger, or by other days of the same report.
"""

# ruff: noqa: E501 (a pattern is easier to read on one line)

import re
from collections.abc import Iterator, Sequence

from fine_tune_assets.phi.spans.spans import Span
from fine_tune_assets.phi.tagger.prediction import TaggedWord

RULE = "day_like_others"
NOT_BEFORE = r"(?<![\w/.,-])"
NO_QUANTITY_AFTER = r"""(?![\w/%]|[-.,]\d|-|[ ]?(?:strength|scale|pain|power|motor|systolic|diastolic|holosystolic|sem|murmur|doses?|days?|weeks?|hours?|s\b|secs?\b|seconds|mins?\b|minutes|fl\b
    |months?|years?|mg|ml|tabs?|tablets?|pills?|caps?|cups?|normal|saline|ns\b|of\b|in[ ]the\b|the\b|way|full|pulses|stat\b|packs?|ppd|positive|negative
    |bottles|sets|nodes|cores|quadrants?|fields?|vision|thickness|inch|liter|points?|criteria|stable|bilaterally|throughout|[x×]\b))"""
_SHORT = re.compile(rf"{NOT_BEFORE}(\d{{1,2}})([/-])(\d{{1,2}})(?![\w/%]|[-.,]\d|-)")
_NO_QUANTITY_AFTER = re.compile(NO_QUANTITY_AFTER, re.IGNORECASE | re.VERBOSE)
_QUANTITY_BEFORE = re.compile(
    r"\b(?:strength|power|motor|pain|scores?|scale|grade|apgars?|gcs|moca|mmse|bp|vision|va|o[dsu]|sc|cc|ratio|about|pulses|dtrs?|reflexes"
    r"|killip|rass|phq|gad|murmur|kt|e|d5|bipap|cpap|iop|prick|lead|leads|zone|stage|level|blocks?|nodes)[\s:=(]*\Z",
    re.IGNORECASE,
)
_SCORED_OUT_OF = (5, 6, 10)
_LEAST_PROBABILITY = 0.05
"""Of a report that has other days of this form: low, so that the form decides and not the tagger."""
_WIDEST = 5


def is_day(first: str, second: str) -> bool:
    """Whether the numbers are a month and a day, in either order."""
    low, high = sorted((int(first), int(second)))
    return 1 <= low <= 12 and high <= 31


def short_date_around(text: str, start: int, end: int) -> tuple[int, int]:
    """The place, widened to the whole of a month and day that it is a part of."""
    for match in _SHORT.finditer(text, max(0, start - _WIDEST), end + _WIDEST):
        if match.start() < end and start < match.end() and is_day(match[1], match[3]):
            start, end = min(start, match.start()), max(end, match.end())
    return start, end


def days_like_others(text: str, spans: Sequence[Span], words: Sequence[TaggedWord]) -> Iterator[Span]:
    """Other months and days of a report in which some were found, where the tagger does not exclude it."""
    if not any(s.label == "DATE" and _SHORT.search(text[s.start : s.end]) for s in spans):
        return
    for match in _SHORT.finditer(text):
        if match[2] == "/" and _may_be_day(text, match) and _probability(words, *match.span()) >= _LEAST_PROBABILITY:
            yield Span(*match.span(), "DATE", RULE, 0.5)


def _may_be_day(text: str, match: re.Match[str]) -> bool:
    return (
        is_day(match[1], match[3])
        and match[0] != "24/7"
        and int(match[3]) not in _SCORED_OUT_OF
        and _NO_QUANTITY_AFTER.match(text, match.end()) is not None
        and _QUANTITY_BEFORE.search(text[max(0, match.start() - 20) : match.start()]) is None
    )


def _probability(words: Sequence[TaggedWord], start: int, end: int) -> float:
    return max((w.probability for w in words if start <= w.start < end and w.label == "DATE"), default=0.0)

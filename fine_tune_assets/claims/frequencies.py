"""Reads how often a medicine is taken: "twice daily", "bid" and "every twelve hours" are the same.

"As needed" states no frequency.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from fine_tune_assets.quantities.number_words import UNITS

DAY_HOURS: Final = 24.0
_HOURS: Final = {"hour": 1.0, "hr": 1.0, "h": 1.0, "day": DAY_HOURS, "week": 7 * DAY_HOURS, "month": 30 * DAY_HOURS}
_NUMBER: Final = rf"(?:\d{{1,2}}|{'|'.join(word for word, value in UNITS.items() if 0 < value <= 12)})"
_TIMES: Final = rf"(?P<often>(?:(?:{_NUMBER})\s*(?:-|to|or)\s*)?{_NUMBER})\s*(?:times|x)"
_PER: Final = r"(?:a|an|per|each|every|in\s+a|/)?\s*(?:one\s+)?"
_PERIOD: Final = r"(?P<{}>hour|hr|day|week|month)s?\b"
_LATIN: Final = {
    "qd": 24, "od": 24, "qday": 24, "qdaily": 24, "qhs": 24, "qam": 24, "qpm": 24, "qod": 48, "bid": 12, "bd": 12, "tid": 8,
    "tds": 8, "qid": 6, "qds": 6, "qweek": 168, "qwk": 168,
}  # fmt: skip
_LATIN_PATTERN: Final = "|".join(r"\.?\s?".join(name) if len(name) <= 3 else name for name in _LATIN)
_FREQUENCY: Final = re.compile(
    rf"(?:\b{_TIMES}\s*{_PER}(?:{_PERIOD.format('of')}|(?P<often_daily>daily)|(?P<often_weekly>weekly)))"
    rf"|\b(?P<few>once|twice|thrice)[\s-]*(?:{_PER}{_PERIOD.format('few_of')}|(?P<few_daily>daily)|(?P<few_weekly>weekly))"
    rf"|\b(?:every|each|q\.?)\s*(?P<every>(?:{_NUMBER}\s*(?:-|to|or)\s*)?{_NUMBER})\s*-?\s*"
    r"(?P<every_of>hours?|hrs?|h|days?|weeks?|months?)\b"
    rf"|(?:\b(?:every|each|per|/)\s*|(?<!for )(?<!in )(?<!over )(?<!about )\b(?:a|an)\s+)(?P<other>other\s+|second\s+)?"
    rf"{_PERIOD.format('single')}(?!\s+(?:ago|before|prior|later|after|or)\b)"
    rf"|\b(?P<latin>{_LATIN_PATTERN})\b(?!\w)"
    r"|\b(?P<two>(?:in\s+the\s+)?mornings?,?\s+and\s+(?:\w+\s+){0,4}?(?:nights?|evenings?|bedtime)|morning\s+and\s+night)\b"
    r"|\b(?P<daily>(?:every|each)\s+(?:morning|evening|night)|daily|nightly|everyday|at\s+night|at\s+bedtime"
    r"|before\s+bed|in\s+the\s+morning|in\s+the\s+evening)\b|\b(?P<weekly>weekly)\b|\b(?P<monthly>monthly)\b"
    r"|\b(?P<meals>with\s+(?:each|every)\s+meal|three\s+meals)\b",
    re.IGNORECASE,
)
_COUNT_WORDS: Final = {"once": 1, "twice": 2, "thrice": 3}
_NAMED_INTERVALS: Final = {
    "daily": DAY_HOURS,
    "weekly": 7 * DAY_HOURS,
    "monthly": 30 * DAY_HOURS,
    "two": 12.0,
    "meals": 8.0,
}


@dataclass(frozen=True)
class Frequency:
    interval_hours: frozenset[float]
    """Interval between doses; two values for a range such as every four to six hours."""
    start: int
    end: int


def extract_frequencies(text: str) -> Iterator[Frequency]:
    """Every frequency with its position.

    >>> [sorted(found.interval_hours) for found in extract_frequencies("500 mg bid, then every 4 to 6 hours or once a day")]
    [[12.0], [4.0, 6.0], [24.0]]
    """
    for match in _FREQUENCY.finditer(text):
        yield Frequency(frozenset(_read_interval_hours(match)), match.start(), match.end())


def _read_interval_hours(match: re.Match[str]) -> list[float]:
    if match["often"]:
        span = _read_period_hours(match["of"] or ("day" if match["often_daily"] else "week"))
        return [round(span / value, 1) for value in _read_counts(match["often"])]
    if match["few"]:
        span = _read_period_hours(match["few_of"] or ("day" if match["few_daily"] else "week"))
        return [round(span / _COUNT_WORDS[match["few"].lower()], 1)]
    if match["every"]:
        return [round(_read_period_hours(match["every_of"]) * value, 1) for value in _read_counts(match["every"])]
    if match["single"]:
        return [_read_period_hours(match["single"]) * (2 if match["other"] else 1)]
    if match["latin"]:
        return [float(_LATIN[re.sub(r"[^a-z]", "", match["latin"].lower())])]
    return [hours for name, hours in _NAMED_INTERVALS.items() if match[name]]


def _read_counts(written: str) -> list[int]:
    words = re.findall(r"\d+|[a-z]+", written.lower())
    return [value for word in words if (value := int(word) if word.isdigit() else UNITS.get(word, 0)) > 0]


def _read_period_hours(written: str) -> float:
    unit = written.lower()
    return _HOURS[unit if unit in _HOURS else unit.removesuffix("s")]

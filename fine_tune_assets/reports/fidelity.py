"""Compares extracted text with its source file: numbers, units, sides and negations must match.

The source text comes from a second library or the raw file, so that both readers would have to make the same mistake. A lost
or changed number is worse than an unreadable report.
"""

import re
import unicodedata
from collections import Counter

from fine_tune_assets.reports.text_cleanup import decode_symbol_font

_DASHES = re.compile("[\u2010\u2011\u2012\u2013\u2212]")
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060\ufeff]")
_GAPS = re.compile(r"[\s|]+")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_COMPARISON = re.compile(r"[<>≤≥±](?=\s?\d)|(?<![\w.)\]])-(?=\d)")
_UNIT = re.compile(
    r"(?<=\d)\s?(%|°|(?:mg|mcg|ug|µg|μg|ng|pg|kg|g|ml|dl|cl|l|mmol|µmol|μmol|nmol|mol|meq|iu|units?|mm|cm|km|m|mmhg|bpm|gy"
    r"|hours?|hrs?|days?|weeks?|months?|years?|minutes?|mins?|seconds?|tablets?|times)\b)",
    re.IGNORECASE,
)
_SIDE = re.compile(r"\b(?:left|right|bilateral(?:ly)?|unilateral(?:ly)?|ipsilateral|contralateral)\b", re.IGNORECASE)
_NEGATION = re.compile(
    r"\b(?:no|not|non|none|never|neither|nor|without|den(?:y|ies|ied|ying)|negative|absent|absence|cannot|\w+n['’]t)\b",
    re.IGNORECASE,
)
CRITICAL_PATTERNS = {
    "numbers": _NUMBER,
    "comparisons": _COMPARISON,
    "units": _UNIT,
    "sides": _SIDE,
    "negations": _NEGATION,
}


def count_critical_tokens(text: str) -> dict[str, Counter[str]]:
    """Count the critical tokens of each kind.

    >>> count_critical_tokens("No bleed. Left 2.5 cm, INR <1.1")["numbers"] == Counter({"2.5": 1, "1.1": 1})
    True
    """
    plain = _INVISIBLE.sub("", _DASHES.sub("-", unicodedata.normalize("NFKC", decode_symbol_font(text))))
    plain = _GAPS.sub(" ", plain)  # line and cell breaks depend on the layout
    return {
        kind: Counter(_normalize_token(match) for match in pattern.finditer(plain))
        for kind, pattern in CRITICAL_PATTERNS.items()
    }


def _normalize_token(match: re.Match[str]) -> str:
    return match.group().strip().lower().replace("’", "'")


def count_differences(source: str, stored: str, is_complete: bool) -> dict[str, int]:
    """Count, per kind, source tokens missing from the stored text and, if the source is complete, added tokens."""
    before, after = count_critical_tokens(source), count_critical_tokens(stored)
    differences = {}
    for kind in CRITICAL_PATTERNS:
        count = (before[kind] - after[kind]).total() + ((after[kind] - before[kind]).total() if is_complete else 0)
        if count:
            differences[kind] = count
    return differences

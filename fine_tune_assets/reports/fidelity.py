"""Compares what was read with what stands in the file: numbers, units, sides and negations must be the same.

Owns which signs are compared and how a difference is counted. Deterministic, by two routes: the reader's text on one side,
what another library or the raw file says on the other. A number that a reader loses or changes is worse than a report that
is not read. Does not know any format.
"""

import re
import unicodedata
from collections import Counter

from fine_tune_assets.reports.text_cleanup import plain_symbols

_DASHES = re.compile("[\u2010\u2011\u2012\u2013\u2212]")
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060\ufeff]")
_GAPS = re.compile(r"[\s|]+")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_COMPARED = re.compile(r"[<>≤≥±](?=\s?\d)|(?<![\w.)\]])-(?=\d)")
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
KINDS = {
    "numbers": _NUMBER,
    "comparisons": _COMPARED,
    "units": _UNIT,
    "sides": _SIDE,
    "negations": _NEGATION,
}


def signs_in(text: str) -> dict[str, Counter[str]]:
    """Kind → how often each sign of it stands in the text.

    >>> signs_in("No bleed. Left 2.5 cm, INR <1.1")["numbers"] == Counter({"2.5": 1, "1.1": 1})
    True
    """
    plain = _INVISIBLE.sub("", _DASHES.sub("-", unicodedata.normalize("NFKC", plain_symbols(text))))
    plain = _GAPS.sub(" ", plain)  # cells and lines end where the layout wants it
    return {kind: Counter(_sign(match) for match in pattern.finditer(plain)) for kind, pattern in KINDS.items()}


def _sign(match: re.Match[str]) -> str:
    return match.group().strip().lower().replace("’", "'")


def differences(source: str, stored: str, is_all: bool) -> dict[str, int]:
    """Kind → how many signs of the source are missing in the stored text and, if the source is all of it, are added."""
    before, after = signs_in(source), signs_in(stored)
    found = {}
    for kind in KINDS:
        count = (before[kind] - after[kind]).total() + ((after[kind] - before[kind]).total() if is_all else 0)
        if count:
            found[kind] = count
    return found

"""Finds known numbers in a text: ids, telephone numbers, ZIP codes, with separators added or dropped.

Owns how a number may be written and where the same digits are a dose, a count or a measurement.
"""

import re
from collections.abc import Iterator

from fine_tune_assets.phi.spans.folded_text import FoldedText, fold
from fine_tune_assets.phi.spans.spans import Offsets

FEWEST_PLAIN_DIGITS = 5
"""An id of fewer digits may be a dose, a count or a year: it is taken for the id only where a word says that it is one."""
_FEWEST_REGROUPED = 7
"""From here on, the same digits in another grouping are no coincidence; 140/80 isn't the id 14080."""
_FEWEST_LETTERED = 6
_SHORTEST_CODE = 5
_LONGEST_LOCAL, _NATIONAL, _FEWEST_PHONE = 7, 10, 7

_GAP = r"(?:\s+(?:is|was)\b)?[\s:=()#*|\-]{0,5}"
_LABELLED = re.compile(rf"\b(?:mrn|id|identifier)(?![^\W\d_]){_GAP}$", re.IGNORECASE)
"""What follows is an id, whatever stands behind it: `MRN: 4711`, `**ID** 4711 days ago`."""
_HELD = re.compile(
    r"(?:\b(?:patient|pt|subject|participant|chart|record|file|case|account|acct|reference|ref|number|num|nr)\b\.?"
    rf"(?:\s+no\b\.?)?|\bno(?=[.:]|\s?\#)\.?|\#){_GAP}$",
    re.IGNORECASE,
)
"""What follows may be an id or, if it is small, a quantity: `Patient 5 days after surgery`, `#30 tablets`."""
_REACH = 40
"""The longest label with its gap."""
# No unit of one letter: after "12345 M" or "12345 L" stands a sex or a side.
_UNIT = (
    r"(?:%|(?:mg|mcg|ug|µg|μg|ng|pg|kg|gm|grams?|ml|dl|cl|µl|μl|mmol|µmol|μmol|nmol|pmol|mol|meq|iu|units?|mm|cm|km|mmhg|kpa"
    r"|bpm|hz|khz|mhz|gy|mgy|msv|kcal|cal|cc|cells|copies|steps|tablets?|tabs?|capsules?|caps|pills?|drops|puffs?|doses?"
    r"|times|seconds?|secs?|minutes?|mins?|hours?|hrs?|days?|weeks?|wks?|months?|years?|yrs?|lbs?|pounds?|oz|ounces?|feet"
    r"|foot|ft|inch|inches|percent|per|degrees)\b)"
)
_NOT_A_QUANTITY = re.compile(rf"(?!\w|[.]\d|,\d{{3}}\b|[ ]?/[ ]?\d|[ -]?{_UNIT})", re.IGNORECASE)
_WHOLE_NUMBER = re.compile(r"(?!\d|[.]\d)")
_NO_FRACTION = re.compile(r"(?<!\w)(?<!\d[./])(?<!\d[ ]/)(?<!\d[ ]/[ ])")
_LETTERED = re.compile(r"(?<![^\W\d_])[A-Za-z]{1,5}[-#]?$")
_DIGITS = re.compile(r"\d+")
_SEPARATORS = re.compile(r"[ .\-_#]{1,3}|[ ]?[\r\n]{1,2}[ ]?")
_PHONE_SEPARATORS = re.compile(r"[\s.\-()/–]{1,4}")
_EXTENSION = re.compile(r"[\s,;]{0,3}(?:x|ext\.?|extension)[\s.:#]{0,2}\d{1,6}\b", re.IGNORECASE)
_COUNTRY = re.compile(
    r"(?:(?:\+|\b00)\d{1,3}[\s.-]{0,2}|(?<!\w)\d{1,3}[\s.-]{1,2}|(?<!\w)1(?=\d*$))?(?:\(0\)[\s.-]?)?\(?0?$"
)
_LABEL_IN_VALUE = re.compile(
    r"^(?:mrn|id|pid|pt|acct?|account|csn|fin|hn|visit|enc|encounter|chart|no|ssn)(?=[\W\d_])[\W_]*", re.IGNORECASE
)
_TWO_FIGURE_COUNTRIES = frozenset(
    """20 27 30 31 32 33 34 36 39 40 41 43 44 45 46 47 48 49 51 52 53 54 55 56 57 58 60 61 62 63 64 65 66 81 82 84 86 90 91
    92 93 94 95 98""".split()  # noqa: SIM905
)


def find_id(text: FoldedText, value: str) -> Iterator[Offsets]:
    """Every place of an id: in any case, with or without its separators, its label and the zeros at its beginning."""
    stated = fold(value.split("^")[0].strip())
    bare = _LABEL_IN_VALUE.sub("", stated) if any(c.isdigit() for c in stated) else stated
    for written in {stated, bare}:
        key = "".join(c for c in written.lower() if c.isalnum())
        if not key:
            continue
        if key.isdecimal():
            yield from _digits(text.folded, key)
            yield from _regrouped(text, key)
        else:
            yield from _code(text, key, written)


def _digits(folded: str, digits: str) -> Iterator[Offsets]:
    significant = digits.lstrip("0") or "0"
    at = folded.find(significant)
    while at >= 0:
        start, end = at, at + len(significant)
        while start and folded[start - 1] == "0":
            start -= 1
        is_whole = not (start and folded[start - 1].isdecimal())
        if is_whole and _stands_for_id(folded, start, end):
            yield start, end
        at = folded.find(significant, at + 1)


def _stands_for_id(folded: str, start: int, end: int) -> bool:
    """Without a label never a part of a decimal or a fraction, nor a quantity with its unit."""
    if not _WHOLE_NUMBER.match(folded, end):
        return False
    before = folded[max(0, start - _REACH) : start]
    if _LABELLED.search(before):
        return True
    is_plain = _NO_FRACTION.match(folded, start) is not None and _NOT_A_QUANTITY.match(folded, end) is not None
    is_held = _HELD.search(before) is not None
    if end - start < FEWEST_PLAIN_DIGITS:
        return is_held and is_plain
    is_lettered = end - start >= _FEWEST_LETTERED and _LETTERED.search(before) is not None
    return is_held or is_plain or (is_lettered and _NOT_A_QUANTITY.match(folded, end) is not None)


def _regrouped(text: FoldedText, digits: str) -> Iterator[Offsets]:
    significant = digits.lstrip("0")
    if len(significant) < _FEWEST_REGROUPED:
        return
    for start, end in text.find_squeezed(significant):
        while start and text.folded[start - 1] == "0":
            start -= 1
        inner = text.folded[start:end]
        if not inner.isdecimal() and _is_grouped(inner, _SEPARATORS) and _is_apart(text.folded, start, end):
            yield start, end


def _is_grouped(inner: str, separators: re.Pattern[str]) -> bool:
    return all(separators.fullmatch(gap) for gap in re.findall(r"[\W_]+", inner))


def _is_apart(folded: str, start: int, end: int) -> bool:
    before, after = folded[max(0, start - 2) : start], folded[end : end + 2]
    return not re.search(r"\d$|\d[./]$", before) and not re.match(r"\w|[./]\d", after)


def _code(text: FoldedText, key: str, written: str) -> Iterator[Offsets]:
    """An id with letters. A short one only as it is stated: T-12 is a vertebra where the id is T12."""
    for start, end in text.find_squeezed(key):
        inner = text.folded[start:end]
        is_stated = inner.lower() == written.lower()
        is_free = len(key) >= _SHORTEST_CODE and any(c.isdigit() for c in key) and _is_grouped(inner, _SEPARATORS)
        is_free = is_free or inner.replace("_", "-").replace(" ", "-").lower() == written.replace(" ", "-").lower()
        before, after = text.folded[max(0, start - 1) : start], text.folded[end : end + 1]
        if (is_stated or is_free) and not before.isalnum() and not after.isalnum():
            yield start, end


def find_phone(text: FoldedText, value: str) -> Iterator[Offsets]:
    """Every place of a telephone number: in any grouping, with or without its country and area, with its extension."""
    number = _EXTENSION.sub("", fold(value.split("^")[0].strip() or value.replace("^", "")))
    digits = "".join(_DIGITS.findall(number))
    if len(digits) < _FEWEST_PHONE:
        yield from _literal(text.folded, number)
        return
    for key in _phone_keys(number, digits):
        for start, end in text.find_squeezed(key):
            inner = text.folded[start:end]
            if _is_grouped(inner, _PHONE_SEPARATORS) and (begin := _phone_start(text.folded, start, end)) is not None:
                extension = _EXTENSION.match(text.folded, end)
                yield begin, extension.end() if extension else end


def _phone_start(folded: str, start: int, end: int) -> int | None:
    """With the country before it; None within a longer number."""
    if folded[end : end + 1].isdecimal():
        return None
    window = max(0, start - 12)
    country = _COUNTRY.search(folded, window, start)
    begin = country.start() if country else start
    before = folded[begin - 1] if begin else ""
    return None if before.isdecimal() else begin


def _phone_keys(number: str, digits: str) -> set[str]:
    """The digits without their country; for ten national ones also the seven of the place, which people dial there."""
    keys = {digits.lstrip("0")}
    if number.startswith(("+", "00")):
        international = digits.removeprefix("00") if number.startswith("00") else digits
        length = 1 if international[0] in "17" else 2 if international[:2] in _TWO_FIGURE_COUNTRIES else 3
        keys |= {international, international[length:]}
    if len(digits) == _NATIONAL + 1 and digits[0] == "1":
        keys.add(digits[1:])
    keys |= {key[-_LONGEST_LOCAL:] for key in keys if len(key) == _NATIONAL and not number.startswith("0")}
    return {key for key in keys if len(key) >= _FEWEST_PHONE}


def _literal(folded: str, value: str) -> Iterator[Offsets]:
    if value:
        for match in re.finditer(rf"(?<!\w){re.escape(value)}(?!\w)", folded, re.IGNORECASE):
            yield match.span()

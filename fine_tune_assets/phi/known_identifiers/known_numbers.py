"""Finds known numbers in a text: ids, telephone numbers and ZIP codes, with separators added or dropped.

Skips the same digits where they are a dose, a count or a measurement.
"""

import re
from collections.abc import Iterator

from fine_tune_assets.core.bounded_patterns import compile_bounded
from fine_tune_assets.phi.spans.folded_text import FoldedText, fold
from fine_tune_assets.phi.spans.spans import Offsets

MIN_PLAIN_DIGITS = 5
"""An id with fewer digits may be a dose, a count or a year; it matches only after a label."""
_MIN_REGROUPED_DIGITS = 7
"""With at least this many digits, a regrouped match is not a coincidence; 140/80 is not the id 14080."""
_MIN_PREFIXED_DIGITS = 6
_MIN_CODE_LENGTH = 5
_LOCAL_DIGITS, _NATIONAL_DIGITS, _MIN_PHONE_DIGITS = 7, 10, 7

_GAP = r"(?:\s+(?:is|was)\b)?[\s:=()#*|\-]{0,5}"
_STRONG_LABEL = re.compile(rf"\b(?:mrn|id|identifier)(?![^\W\d_]){_GAP}$", re.IGNORECASE)
"""An id follows, whatever comes after it: `MRN: 4711`, `**ID** 4711 days ago`."""
_WEAK_LABEL = re.compile(
    r"(?:\b(?:patient|pt|subject|participant|chart|record|file|case|account|acct|reference|ref|number|num|nr)\b\.?"
    rf"(?:\s+no\b\.?)?|\bno(?=[.:]|\s?\#)\.?|\#){_GAP}$",
    re.IGNORECASE,
)
"""An id or, if the number is small, a quantity follows: `Patient 5 days after surgery`, `#30 tablets`."""
_MAX_LABEL_LENGTH = 40
"""Length of the longest label, including the gap."""
# No one-letter units: after an id, M or L may be a sex or a side.
_UNIT = (
    r"(?:%|(?:mg|mcg|ug|µg|μg|ng|pg|kg|gm|grams?|ml|dl|cl|µl|μl|mmol|µmol|μmol|nmol|pmol|mol|meq|iu|units?|mm|cm|km|mmhg|kpa"
    r"|bpm|hz|khz|mhz|gy|mgy|msv|kcal|cal|cc|cells|copies|steps|tablets?|tabs?|capsules?|caps|pills?|drops|puffs?|doses?"
    r"|times|seconds?|secs?|minutes?|mins?|hours?|hrs?|days?|weeks?|wks?|months?|years?|yrs?|lbs?|pounds?|oz|ounces?|feet"
    r"|foot|ft|inch|inches|percent|per|degrees)\b)"
)
_NOT_A_QUANTITY = compile_bounded(rf"(?!\w|[.]\d|,\d{{3}}\b|[ ]?/[ ]?\d|[ -]?{_UNIT})", re.IGNORECASE)
_WHOLE_NUMBER = re.compile(r"(?!\d|[.]\d)")
_NOT_A_FRACTION = re.compile(r"(?<!\w)(?<!\d[./])(?<!\d[ ]/)(?<!\d[ ]/[ ])")
_LETTER_PREFIX = re.compile(r"(?<![^\W\d_])[A-Za-z]{1,5}[-#]?$")
_DIGITS = re.compile(r"\d+")
_SEPARATORS = re.compile(r"[ .\-_#]{1,3}|[ ]?[\r\n]{1,2}[ ]?")
_PHONE_SEPARATORS = re.compile(r"[\s.\-()/–]{1,4}")
_EXTENSION = re.compile(r"[\s,;]{0,3}(?:x|ext\.?|extension)[\s.:#]{0,2}\d{1,6}\b", re.IGNORECASE)
_COUNTRY_PREFIX = re.compile(
    r"(?:(?:\+|\b00)\d{1,3}[\s.-]{0,2}|(?<!\w)\d{1,3}[\s.-]{1,2}|(?<!\w)1(?=\d*$))?(?:\(0\)[\s.-]?)?\(?0?$"
)
_LABEL_IN_VALUE = re.compile(
    r"^(?:mrn|id|pid|pt|acct?|account|csn|fin|hn|visit|enc|encounter|chart|no|ssn)(?=[\W\d_])[\W_]*", re.IGNORECASE
)
_MAX_ZEROS = 64
_TWO_DIGIT_COUNTRY_CODES = frozenset(
    """20 27 30 31 32 33 34 36 39 40 41 43 44 45 46 47 48 49 51 52 53 54 55 56 57 58 60 61 62 63 64 65 66 81 82 84 86 90 91
    92 93 94 95 98""".split()  # noqa: SIM905
)


def find_id(text: FoldedText, value: str) -> Iterator[Offsets]:
    """Every occurrence of an id: in any case, with or without separators, label and leading zeros."""
    stated = fold(value.split("^")[0].strip())
    bare = _LABEL_IN_VALUE.sub("", stated) if any(c.isdigit() for c in stated) else stated
    for written in {stated, bare}:
        key = "".join(c for c in written.lower() if c.isalnum())
        if not key:
            continue
        if key.isdecimal():
            yield from _find_digits(text.folded, key)
            yield from _find_regrouped(text, key)
        else:
            yield from _find_code(text, key, written)


def _find_digits(folded: str, digits: str) -> Iterator[Offsets]:
    significant = digits.lstrip("0") or "0"
    at = folded.find(significant)
    while at >= 0:
        start, end = at, at + len(significant)
        start = _skip_zeros(folded, start)
        is_whole = not (start and folded[start - 1].isdecimal())
        if is_whole and _is_id(folded, start, end):
            yield start, end
        at = folded.find(significant, at + 1)


def _skip_zeros(folded: str, start: int) -> int:
    """Start with the leading zeros before it."""
    before = folded[max(0, start - _MAX_ZEROS) : start]
    return start - len(before) + len(before.rstrip("0"))


def _is_id(folded: str, start: int, end: int) -> bool:
    """Whether the digits can be the id: without a label, not part of a decimal or fraction, and not a quantity with a unit."""
    if not _WHOLE_NUMBER.match(folded, end):
        return False
    before = folded[max(0, start - _MAX_LABEL_LENGTH) : start]
    if _STRONG_LABEL.search(before):
        return True
    is_plain = _NOT_A_FRACTION.match(folded, start) is not None and _NOT_A_QUANTITY.match(folded, end) is not None
    is_passed = _WEAK_LABEL.search(before) is not None
    if end - start < MIN_PLAIN_DIGITS:
        return is_passed and is_plain
    is_lettered = end - start >= _MIN_PREFIXED_DIGITS and _LETTER_PREFIX.search(before) is not None
    return is_passed or is_plain or (is_lettered and _NOT_A_QUANTITY.match(folded, end) is not None)


def _find_regrouped(text: FoldedText, digits: str) -> Iterator[Offsets]:
    significant = digits.lstrip("0")
    if len(significant) < _MIN_REGROUPED_DIGITS:
        return
    for start, end in text.find_ignoring_separators(significant):
        start = _skip_zeros(text.folded, start)
        inner = text.folded[start:end]
        if not inner.isdecimal() and _is_grouped(inner, _SEPARATORS) and _is_standalone(text.folded, start, end):
            yield start, end


def _is_grouped(inner: str, separators: re.Pattern[str]) -> bool:
    return all(separators.fullmatch(gap) for gap in re.findall(r"[\W_]+", inner))


def _is_standalone(folded: str, start: int, end: int) -> bool:
    before, after = folded[max(0, start - 2) : start], folded[end : end + 2]
    return not re.search(r"\d$|\d[./]$", before) and not re.match(r"\w|[./]\d", after)


def _find_code(text: FoldedText, key: str, written: str) -> Iterator[Offsets]:
    """Find an id with letters. A short one must match verbatim: T-12 is a vertebra if the id is T12."""
    for start, end in text.find_ignoring_separators(key):
        inner = text.folded[start:end]
        is_stated = inner.lower() == written.lower()
        is_free = len(key) >= _MIN_CODE_LENGTH and any(c.isdigit() for c in key) and _is_grouped(inner, _SEPARATORS)
        is_free = is_free or inner.replace("_", "-").replace(" ", "-").lower() == written.replace(" ", "-").lower()
        before, after = text.folded[max(0, start - 1) : start], text.folded[end : end + 1]
        if (is_stated or is_free) and not before.isalnum() and not after.isalnum():
            yield start, end


def find_phone(text: FoldedText, value: str) -> Iterator[Offsets]:
    """Every occurrence of a telephone number: in any grouping, with or without country and area code, with its extension."""
    number = _EXTENSION.sub("", fold(value.split("^")[0].strip() or value.replace("^", "")))
    digits = "".join(_DIGITS.findall(number))
    if len(digits) < _MIN_PHONE_DIGITS:
        yield from _find_literal(text.folded, number)
        return
    for key in _list_phone_keys(number, digits):
        for start, end in text.find_ignoring_separators(key):
            inner = text.folded[start:end]
            if (
                _is_grouped(inner, _PHONE_SEPARATORS)
                and (begin := _find_phone_start(text.folded, start, end)) is not None
            ):
                extension = _EXTENSION.match(text.folded, end)
                yield begin, extension.end() if extension else end


def _find_phone_start(folded: str, start: int, end: int) -> int | None:
    """Start including the country code; None inside a longer number."""
    if folded[end : end + 1].isdecimal():
        return None
    window = max(0, start - 12)
    country = _COUNTRY_PREFIX.search(folded, window, start)
    begin = country.start() if country else start
    before = folded[begin - 1] if begin else ""
    return None if before.isdecimal() else begin


def _list_phone_keys(number: str, digits: str) -> set[str]:
    """The digits without the country code; for ten-digit national numbers also the seven local digits."""
    keys = {digits.lstrip("0")}
    if number.startswith(("+", "00")):
        international = digits.removeprefix("00") if number.startswith("00") else digits
        length = 1 if international[0] in "17" else 2 if international[:2] in _TWO_DIGIT_COUNTRY_CODES else 3
        keys |= {international, international[length:]}
    if len(digits) == _NATIONAL_DIGITS + 1 and digits[0] == "1":
        keys.add(digits[1:])
    keys |= {key[-_LOCAL_DIGITS:] for key in keys if len(key) == _NATIONAL_DIGITS and not number.startswith("0")}
    return {key for key in keys if len(key) >= _MIN_PHONE_DIGITS}


def _find_literal(folded: str, value: str) -> Iterator[Offsets]:
    if value:
        for match in re.finditer(rf"(?<!\w){re.escape(value)}(?!\w)", folded, re.IGNORECASE):
            yield match.span()

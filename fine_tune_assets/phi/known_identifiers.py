"""Finds the identifiers that a report's own metadata states, wherever they stand in its text.

Owns how a value may be written. Certain where a recogniser only guesses: this is what removes rare names.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

from fine_tune_assets.phi.spans import Span

RULE = "known_identifier"
OLDEST_PLAIN_AGE = 89
"""Safe Harbor, 45 CFR 164.514(b)(2)(i)(C): ages up to 89 are no identifiers."""
_SHORTEST_NAME_PART = 3
_LABELS = {"address": "LOCATION"}
_APOSTROPHE = "['’ʼ‘]"
# U+02BC is a letter to Python's \w.
_STARTS, _ENDS = r"(?<![^\Wʼ])", r"(?![^\Wʼ])"

_FEWEST_PLAIN_DIGITS = 5
"""An id of fewer digits may be a dose, a count or a year: it is taken for the id only where a word says that it is one."""
_GAP = r"(?:\s+(?:is|was)\b)?[\s:=()#*|\-]{0,5}"
_LABEL = rf"\b(?:mrn|id|identifier)(?![^\W\d_]){_GAP}"
"""What follows is an id, whatever stands behind it: `MRN: 4711`, `**ID** 4711 days ago`."""
_HOLDER = (
    r"(?:\b(?:patient|pt|subject|participant|chart|record|file|case|account|acct|reference|ref|number|num|nr)\b\.?"
    rf"(?:\s+no\b\.?)?|\bno(?=[.:]|\s?\#)\.?|\#){_GAP}"
)
"""What follows may be an id or, if it is small, a quantity: `Patient 5 days after surgery`, `#30 tablets`."""
# No unit of one letter: after "12345 M" or "12345 L" stands a sex or a side.
_UNIT = (
    r"(?:%|(?:mg|mcg|ug|µg|μg|ng|pg|kg|gm|grams?|ml|dl|cl|µl|μl|mmol|µmol|μmol|nmol|pmol|mol|meq|iu|units?|mm|cm|km|mmhg|kpa"
    r"|bpm|hz|khz|mhz|gy|mgy|msv|kcal|cal|cc|cells|copies|steps|tablets?|tabs?|capsules?|caps|pills?|drops|puffs?|doses?"
    r"|times|seconds?|secs?|minutes?|mins?|hours?|hrs?|days?|weeks?|wks?|months?|years?|yrs?|lbs?|pounds?|oz|ounces?|feet"
    r"|foot|ft|inch|inches|percent|per|degrees)\b)"
)

# Names that are ordinary words too: alone, only the capitalised word is the name. Without this, every "good" and "may"
# goes from the report of a Dr. Good.
_ALSO_WORDS = frozenset(
    """a ache and any are art baker ball banks barber bell berry best bill bird black blank blood bloom bond book bowl
    brook brooks brown bush butler case chance church clay cook cooper cross curry dale day dean drew duke early
    english faith farmer field fields fish fisher flowers foot for ford fox frank french frost gay gentle glass
    gold good grace grant gray green grey grove guest had hall hand hands hardy hart has heart her hill hills
    him his hope house hunt hunter hurt ivy jack joy july june keen key king knight lake lane law lily little
    long love major march mark marsh mason may mays mercy miles mills moody moon morning moss not nurse ocean
    pace page paige pain park parks pat patience perry pope price prince queen rain ray read rice rich rivers
    rob rock rose rush sage sally sands sharp she shepherd short singer skin small snow son spring star steel
    stone storm street strong summer summers sun swift tanner temple the thick turner van wade walker wall walls
    ward was water waters weeks weight west white who will wills winter wise with wolf wood woods worth young""".split()  # noqa: SIM905
)


def find_known_identifiers(text: str, known: Sequence[Mapping[str, str]]) -> list[Span]:
    """Every place of every value; `known` is a list of {"kind", "value"}."""
    return [
        Span(
            *match.span("value" if "value" in pattern.groupindex else 0),
            _LABELS.get(entry["kind"], entry["kind"].upper()),
            RULE,
            1.0,
        )
        for entry in known
        for pattern in _patterns(entry["kind"], entry["value"].strip())
        for match in pattern.finditer(text)
    ]


def _patterns(kind: str, value: str) -> Iterator[re.Pattern[str]]:
    if not value:
        return
    if kind == "age":
        digits = re.match(r"\d+", value)
        if digits and int(digits[0]) > OLDEST_PLAIN_AGE:
            # "91 %" and "91/60" are measurements.
            yield re.compile(rf"(?<![\w./]){digits[0]}(?![\w/]|\s?%|[.]\d)")
        return
    if kind == "id" and value.isdecimal():
        yield from _number(value)
        return
    yield _whole(value, re.IGNORECASE)
    if kind == "name":
        for part in re.findall(rf"[^\W\d_]+(?:{_APOSTROPHE}[^\W\d_]+)*", value):
            yield from _name_part(part)


def _name_part(part: str) -> Iterator[re.Pattern[str]]:
    if len(part) < _SHORTEST_NAME_PART:
        return
    if part.lower() in _ALSO_WORDS:
        yield _whole(part.capitalize(), re.NOFLAG)
        yield _whole(part.upper(), re.NOFLAG)
    else:
        yield _whole(part, re.IGNORECASE)


def _number(digits: str) -> Iterator[re.Pattern[str]]:
    """An id of digits only. Without a label it is never a part of a decimal or a fraction, nor a quantity with its unit."""
    whole = rf"(?P<value>{digits})(?!\d|[.]\d)"
    before = r"(?<!\w)(?<!\d[./])(?<!\d[ ]/)(?<!\d[ ]/[ ])"
    plain = rf"{before}(?P<value>{digits})(?!\w|[.]\d|,\d{{3}}\b|[ ]?/[ ]?\d|[ -]?{_UNIT})"
    yield re.compile(_LABEL + whole, re.IGNORECASE)
    if len(digits) < _FEWEST_PLAIN_DIGITS:
        yield re.compile(_HOLDER + plain, re.IGNORECASE)
    else:
        yield re.compile(_HOLDER + whole, re.IGNORECASE)
        yield re.compile(plain, re.IGNORECASE)


def _whole(value: str, flags: re.RegexFlag) -> re.Pattern[str]:
    """The value as whole words: white space or hyphens between its parts, any apostrophe, and a possessive after it."""
    between = r"[\s\-]+"
    words = between.join(re.escape(word) for word in re.split(r"[\s\-]+", value) if word)
    words = re.sub(_APOSTROPHE, _APOSTROPHE, words)
    return re.compile(rf"{_STARTS}{words}(?:{_APOSTROPHE}s)?{_ENDS}", flags)

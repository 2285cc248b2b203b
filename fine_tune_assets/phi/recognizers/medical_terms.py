"""What the tagger takes for an identifier and is none: medicines, abbreviations, scales and signs, times, impossible days.

Owns when a word of the clinical pack's lists is certainly meant. Asked of the tagger's findings only; a rule has its context, and
what the metadata states is certain.
"""

# ruff: noqa: E501 (a pattern is easier to read on one line)

import re
from functools import cache

from fine_tune_assets.core.word_lists import pack_words
from fine_tune_assets.phi.recognizers.short_dates import is_day
from fine_tune_assets.phi.spans.folded_text import fold
from fine_tune_assets.phi.spans.spans import Span
from fine_tune_assets.phi.spans.word_lists import EPONYM_NOUN, EPONYMS, FIFTY_STATES, ORDINARY_WORDS

_NAMED = {"NAME", "LOCATION", "FACILITY"}
_CLOCKED = {"ACCOUNT", "DATE", "ID", "LOCATION", "MRN", "PHONE"}
_BEFORE = 24

_TITLE_BEFORE = re.compile(
    r"\b(?:dr|mr|mrs|ms|miss|prof|doctor|nurse|initials?|signed|by)\.?[\s:]+(?:\w+\s+)?\Z", re.IGNORECASE
)
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_AGE_AND_SEX = re.compile(r"[0-8]?\d ?(?:[MF]|yo|y/o)|PGY-?\d|MS-?[1-4]|CA-?[1-3]")
"""An age up to 89 and a sex; a year of training."""
_PARTS = re.compile(r"\d+(?:[/.]\d+)+")
_NO_DAY = re.compile(r"\d{1,2}(?::\d\d)? ?[ap]\.?m\.?|\d{1,3}-\d{3}|\d{1,3}[x×]\d{1,3}|(?!19|20)\d{4}", re.IGNORECASE)
_NOT_NAMED = re.compile(r"H&P|H|(?:mon|tues|wednes|thurs|fri|satur)day|fri|tues?|wed|thurs?", re.IGNORECASE)
"""Neither a name nor a place, by itself. H alone is of H&P."""
_STATES = FIFTY_STATES - {"Georgia", "New York", "Virginia", "Washington"}
"""45 CFR 164.514(b)(2)(i)(B): what is smaller than a state. Those that are towns or names too are left out."""
_COLUMN_BEFORE = re.compile(r"\S[ ]{2,}\Z")
_FIELD_AFTER = re.compile(r"(?:[ ](?:no|number|name|date|id))?\.?:", re.IGNORECASE)
_PUBLIC_LINE = re.compile(r"911|988|711|211")
_BIRTH_BEFORE = re.compile(r"(?:dob|date|born|birth)\W*\Z", re.IGNORECASE)
_CLOCK = re.compile(r"(?:[01]\d|2[0-3])[0-5]\d(?:-(?:[01]\d|2[0-3])[0-5]\d)?")
_CLOCK_BEFORE = re.compile(
    r"(?:\b(?:at|time:?|off|shift|note|until|till|since|around)[, ]+|@ ?|\d[/.-]\d{1,2}(?:[/.-]\d{2,4})? +)\Z",
    re.IGNORECASE,
)
_CALL_BEFORE = re.compile(
    r"\b(?:pager|pgr|beeper|ext|extension|call(?:ed)?|phone|tel|reach|contact|page[d]?|text)\b[^.;\n]{0,16}\Z",
    re.IGNORECASE,
)
_ONE_NAME = re.compile(r"[A-ZÀ-ÖØ-Þ][a-zà-ÿ]+(?:-[A-ZÀ-ÖØ-Þ][a-zà-ÿ]+)?")
_ROMAN_END = re.compile(r"[ ](?:I{2,3}|IV)[abcABC]?\.?\Z")
_SCALE_AFTER = re.compile(
    r"(?:['’]s?)?[ ](?:(?:I{2,3}|IV)[abcABC]?\b|(?:sign|criteria|score|scale|classification|grade|grading|staging|test|disease|syndrome|maneuver"
    r"|manoeuvre|bodies|casts?|stain|nev(?:us|i)|drain|index|formula|guidelines|phenomenon|reflex|triad|equation|needle|catheter|edema)\b)"
)
_TERM_AFTER = re.compile(
    rf"(?:['’]s?)?[ ]?[(]?[ ](?:(?:\d{{1,2}}(?:\.\d)?[ab]?|[I]{{1,3}}|IV|VI?|[A-D])(?![\w/-]|\.\d)"
    rf"|(?:neg|pos|negative|positive|absent|present|not|none|normal|excluded|maneuver|view)\b|{EPONYM_NOUN}\b)",
    re.IGNORECASE,
)  # fmt: skip
_LETTERED_END = re.compile(r"[ ](?:[A-D]|neg|\d{1,2}|[ivIV]+[abcABC]?)\.?\Z", re.IGNORECASE)


@cache
def abbreviations() -> frozenset[str]:
    """As they are written: aPTT, HFrEF."""
    return pack_words("abbreviations")


@cache
def named_terms() -> frozenset[str]:
    """Whom scales, signs and devices are called after, in small letters without accents."""
    return pack_words("eponyms") | EPONYMS


def is_medical_term(text: str, span: Span) -> bool:
    """Whether a finding of the tagger is certainly none, by its form or by the lists."""
    value = text[span.start : span.end]
    before = text[max(0, span.start - _BEFORE) : span.start]
    if _AGE_AND_SEX.fullmatch(value):
        return True
    if span.label == "DATE" and is_no_day(value) and not _BIRTH_BEFORE.search(before):
        return True
    if span.label in _CLOCKED and _is_clock(value, before):
        return True
    if span.label == "PHONE" and _PUBLIC_LINE.fullmatch(value):
        return True
    if value.isalpha() and _FIELD_AFTER.match(text, span.end) and _COLUMN_BEFORE.search(before):
        return True
    if (span.label in _NAMED and _NOT_NAMED.fullmatch(value)) or (span.label == "LOCATION" and value in _STATES):
        return True
    if span.label not in _NAMED or _TITLE_BEFORE.search(before):
        return False
    return _is_listed(value, span.label)


def is_scale_or_sign(text: str, span: Span) -> bool:
    """Whether a name is that of a scale, a sign or a disease by what follows it. A person of this name may be in the report."""
    if span.label not in _NAMED or _TITLE_BEFORE.search(text[max(0, span.start - _BEFORE) : span.start]):
        return False
    value = text[span.start : span.end]
    if _ONE_NAME.fullmatch(value) and _SCALE_AFTER.match(text, span.end):
        return True
    bare = _LETTERED_END.sub("", value)
    if bare != value and _ONE_NAME.fullmatch(bare) and _ROMAN_END.search(value):
        return True
    key = re.sub(r"['’]s\Z", "", fold(bare).lower())
    return key in named_terms() and (bare != value or _TERM_AFTER.match(text, span.end) is not None)


def is_no_day(value: str) -> bool:
    """Numbers in the form of a date that no calendar has: 24/26, 31/34/68/17, 6x26."""
    if _NO_DAY.fullmatch(value) or value == "24/7":
        return True
    if not _PARTS.fullmatch(value):
        return False
    parts = re.split(r"[/.]", value)
    if len(parts) == 2:
        is_month_and_year = 1 <= int(parts[0]) <= 12 and len(parts[1]) in (2, 4)
        return not is_day(*parts) and not is_month_and_year
    if len(parts) > 3:
        return True
    return not (is_day(parts[0], parts[1]) or is_day(parts[1], parts[2]))


def _is_clock(value: str, before: str) -> bool:
    return (
        _CLOCK.fullmatch(value) is not None
        and _CLOCK_BEFORE.search(before) is not None
        and _CALL_BEFORE.search(before) is None
    )


def _is_listed(value: str, label: str) -> bool:
    words = _WORD.findall(value)
    if not words:
        return False
    if all(word in abbreviations() for word in words):
        return True
    if label == "FACILITY":
        return False
    # Two medicines in one tablet: sacubitril-valsartan.
    parts = [part for word in words for part in word.split("-")]
    small = [fold(part).lower() for part in parts]
    return any(part in pack_words("medicines") for part in small) and all(
        part in pack_words("medicines") or part in ORDINARY_WORDS or written in abbreviations()
        for part, written in zip(small, parts, strict=True)
    )

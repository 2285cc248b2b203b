"""Rejects the tagger's false positives: medicines, abbreviations, scales and signs, clock times, impossible dates.

Uses the word lists of the domain pack. Applies only to the tagger: rules have context, and metadata is certain.
"""

import re
from functools import lru_cache

from fine_tune_assets.core.bounded_patterns import compile_bounded
from fine_tune_assets.phi.recognizers.short_dates import is_month_and_day
from fine_tune_assets.phi.spans.folded_text import fold
from fine_tune_assets.phi.spans.identifier_words import FIFTY_STATES
from fine_tune_assets.phi.spans.spans import Span
from fine_tune_assets.phi.spans.vocabulary import Vocabulary

_NAME_LABELS = {"NAME", "LOCATION", "FACILITY"}
_CLOCK_LABELS = {"ACCOUNT", "DATE", "ID", "LOCATION", "MRN", "PHONE"}
_CONTEXT_LENGTH = 24

_TITLE_BEFORE = re.compile(
    r"\b(?:dr|mr|mrs|ms|miss|prof|doctor|nurse|initials?|signed|by)\.?[\s:]+(?:\w+\s+)?\Z", re.IGNORECASE
)
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_AGE_AND_SEX = re.compile(r"[0-8]?\d ?(?:[MF]|yo|y/o)|PGY-?\d|MS-?[1-4]|CA-?[1-3]")
"""An age up to 89 with a sex; a year of training."""
_NUMBER_PARTS = compile_bounded(r"\d+(?:[/.]\d+)+")
_NOT_A_DATE = re.compile(
    r"\d{1,2}(?::\d\d)? ?[ap]\.?m\.?|\d{1,3}-\d{3}|\d{1,3}[x×]\d{1,3}|(?!19|20)\d{4}", re.IGNORECASE
)
_NOT_A_NAME = re.compile(r"H&P|H|(?:mon|tues|wednes|thurs|fri|satur)day|fri|tues?|wed|thurs?", re.IGNORECASE)
"""Not a name or a place on its own. H comes from H&P."""
_STATES = FIFTY_STATES - {"Georgia", "New York", "Virginia", "Washington"}
"""45 CFR 164.514(b)(2)(i)(B) covers areas smaller than a state. Excludes states that are also towns or names."""
_COLUMN_BEFORE = re.compile(r"\S[ ]{2,}\Z")
_FIELD_AFTER = re.compile(r"(?:[ ](?:no|number|name|date|id))?\.?:", re.IGNORECASE)
_PUBLIC_HOTLINE = re.compile(r"911|988|711|211")
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
_SINGLE_NAME = re.compile(r"[A-ZÀ-ÖØ-Þ][a-zà-ÿ]+(?:-[A-ZÀ-ÖØ-Þ][a-zà-ÿ]+)?")
_ROMAN_SUFFIX = re.compile(r"[ ](?:I{2,3}|IV)[abcABC]?\.?\Z")
_LETTER_SUFFIX = re.compile(r"[ ](?:[A-D]|neg|\d{1,2}|[ivIV]+[abcABC]?)\.?\Z", re.IGNORECASE)


@lru_cache
def _compile_scale(scales_and_signs: str) -> re.Pattern[str]:
    """What follows a person after whom a scale or sign is named."""
    return re.compile(rf"(?:['’]s?)?[ ](?:(?:I{{2,3}}|IV)[abcABC]?\b|{scales_and_signs}\b)")


@lru_cache
def _compile_term(eponym_noun: str) -> re.Pattern[str]:
    """What follows a person after whom a term is named."""
    return re.compile(
        rf"(?:['’]s?)?[ ]?[(]?[ ](?:(?:\d{{1,2}}(?:\.\d)?[ab]?|[I]{{1,3}}|IV|VI?|[A-D])(?![\w/-]|\.\d)"
        rf"|(?:neg|pos|negative|positive|absent|present|not|none|normal|excluded|maneuver|view)\b|{eponym_noun}\b)",
        re.IGNORECASE,
    )


def is_medical_term(text: str, span: Span, vocabulary: Vocabulary) -> bool:
    """Whether the form or a word list proves that a tagger finding is not an identifier."""
    value = text[span.start : span.end]
    before = text[max(0, span.start - _CONTEXT_LENGTH) : span.start]
    if _AGE_AND_SEX.fullmatch(value):
        return True
    if span.label == "DATE" and is_impossible_date(value) and not _BIRTH_BEFORE.search(before):
        return True
    if span.label in _CLOCK_LABELS and _is_clock_time(value, before):
        return True
    if span.label == "PHONE" and _PUBLIC_HOTLINE.fullmatch(value):
        return True
    if value.isalpha() and _FIELD_AFTER.match(text, span.end) and _COLUMN_BEFORE.search(before):
        return True
    if (span.label in _NAME_LABELS and _NOT_A_NAME.fullmatch(value)) or (span.label == "LOCATION" and value in _STATES):
        return True
    if span.label not in _NAME_LABELS or _TITLE_BEFORE.search(before):
        return False
    return _is_listed_term(value, span.label, vocabulary)


def is_scale_or_sign(text: str, span: Span, vocabulary: Vocabulary) -> bool:
    """Whether the next words make a name part of a scale, sign or disease. A person of that name may still occur in the
    report."""
    if span.label not in _NAME_LABELS or _TITLE_BEFORE.search(text[max(0, span.start - _CONTEXT_LENGTH) : span.start]):
        return False
    if not vocabulary.device_eponyms:
        return False
    value = text[span.start : span.end]
    if _SINGLE_NAME.fullmatch(value) and _compile_scale(vocabulary.scales_and_signs).match(text, span.end):
        return True
    bare = _LETTER_SUFFIX.sub("", value)
    if bare != value and _SINGLE_NAME.fullmatch(bare) and _ROMAN_SUFFIX.search(value):
        return True
    key = re.sub(r"['’]s\Z", "", fold(bare).lower())
    is_term = bare != value or _compile_term(vocabulary.eponym_noun).match(text, span.end) is not None
    return key in vocabulary.device_eponyms and is_term


def is_impossible_date(value: str) -> bool:
    """Whether the numbers look like a date that no calendar has: 24/26, 31/34/68/17, 6x26."""
    if _NOT_A_DATE.fullmatch(value) or value == "24/7":
        return True
    if not _NUMBER_PARTS.fullmatch(value):
        return False
    parts = re.split(r"[/.]", value)
    if len(parts) == 2:
        is_month_and_year = 1 <= int(parts[0]) <= 12 and len(parts[1]) in (2, 4)
        return not is_month_and_day(*parts) and not is_month_and_year
    if len(parts) > 3:
        return True
    return not (is_month_and_day(parts[0], parts[1]) or is_month_and_day(parts[1], parts[2]))


def _is_clock_time(value: str, before: str) -> bool:
    return (
        _CLOCK.fullmatch(value) is not None
        and _CLOCK_BEFORE.search(before) is not None
        and _CALL_BEFORE.search(before) is None
    )


def _is_listed_term(value: str, label: str, vocabulary: Vocabulary) -> bool:
    words = _WORD.findall(value)
    if not words:
        return False
    if all(word in vocabulary.abbreviations for word in words):
        return True
    if label == "FACILITY":
        return False
    # Two medicines in one tablet: sacubitril-valsartan.
    parts = [part for word in words for part in word.split("-")]
    small = [fold(part).lower() for part in parts]
    return any(part in vocabulary.medicines for part in small) and all(
        part in vocabulary.medicines or part in vocabulary.ordinary_words or written in vocabulary.abbreviations
        for part, written in zip(small, parts, strict=True)
    )

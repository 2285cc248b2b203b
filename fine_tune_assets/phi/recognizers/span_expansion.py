"""Widens findings to the full name of the site or person that they are part of.

Finds nothing new.
"""

# ruff: noqa: E501 (a pattern is easier to read on one line)

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from fine_tune_assets.core.bounded_patterns import compile_bounded
from fine_tune_assets.phi.spans.identifier_words import (
    ABBREVIATIONS,
    DOTTED_ABBREVIATIONS,
    MEASURES,
    NON_SITE_WORDS,
    STRONG_SITE_WORDS,
    WEAK_SITE_WORDS,
)
from fine_tune_assets.phi.spans.spans import Span
from fine_tune_assets.phi.spans.vocabulary import Vocabulary

RULE = "expanded"
_PLACE_LABELS = {"FACILITY", "LOCATION"}
_WINDOW = 60
_CONNECTOR = re.compile(r"[ ](?:of|of the|at|at the|&|@)[ ]|['’]s[ ]|[ ]?[-–][ ]?")
_LIST_CONNECTOR = " & "
"""Also joins two unrelated places."""
_WHOLE_SITE = re.compile(r"\b(?:Hospital|Clinic|Center|Centre|University|Pharmacy|School)['’]?s?\Z")
_DEPARTMENT = re.compile(r"\b(?:Department|Dept\.?|Division|Section|Secretary|Office)(?:[ ]of)?\Z", re.IGNORECASE)

_STRONG_WORD, _WEAK_WORD = ("|".join(map(re.escape, words)) for words in (STRONG_SITE_WORDS, WEAK_SITE_WORDS))
_OPTIONAL_CONNECTOR = r"[ ](?:(?:&|and|for|of)[ ])?"
_SITE_AFTER = re.compile(
    rf"(?:{_OPTIONAL_CONNECTOR}(?:{_WEAK_WORD}|{_STRONG_WORD})\b(?!['’:])){{1,4}}(?![ ]?:|[ ]?\d|[ ](?:Plan|History|Note|Records?|Visit|Instructions|Proxy)\b)"
)
_SITE_AFTER_IN_CAPITALS = re.compile(_SITE_AFTER.pattern, re.IGNORECASE)
_HAS_STRONG = re.compile(rf"\b(?:{_STRONG_WORD})\b", re.IGNORECASE)
_CAPITALISED_BEFORE = re.compile(
    r"(?:\b(?:at|to|from|via|thru|through|of|the|with|in|by)[ ]|[(]|,[ ])((?:[A-Z][a-z]+(?:['’]s)?[ ]){1,3})\Z"
)
_KIND_BEFORE = re.compile(
    r"\b(?:Univ\.?|University|Inst\.?|Institute|College|School|Cent(?:er|re)|Church|Hospital|Clinic|Friends|Sisters)[ ]of(?:[ ]the)?[ ]\Z"
)

_INITIALS_BEFORE = re.compile(r"(?<![\w.'’-])(?:[A-Z]\.[ ]?){1,2}\Z|(?<![\w.])[a-z]\.\Z")
_LETTERED_TERM_BEFORE = re.compile(rf"\b(?:{MEASURES['lettered']})[ ]\Z", re.IGNORECASE)
_SURNAME_BEFORE = re.compile(
    r"(?:^|\n|[ ]{2}|\d[.)][ ]|[:|][ ]?)((?:[A-ZÀ-ÖØ-Þ]['’])?[A-ZÀ-ÖØ-Þ]{2,}(?:[ '’-][A-ZÀ-ÖØ-Þ]{2,}){0,2}(?:,[ ]?|[ ]))\Z"
)
_SURNAME_FIRST = compile_bounded(r"[A-ZÀ-ÖØ-Þ'’-]{2,}(?:[ ][A-ZÀ-ÖØ-Þ'’-]{2,})*,[ ]?[A-ZÀ-ÖØ-Þ]")
_MIN_SURNAME_LENGTH = _MIN_NAME_LENGTH = 4


def expand_spans(text: str, spans: Sequence[Span], vocabulary: Vocabulary) -> Iterator[Span]:
    """Replace each finding with the widened one; findings must be in order and must not overlap."""
    for left, right in itertools.pairwise(spans):
        if _is_one_site(text, left, right):
            yield replace(left, end=right.end, label="FACILITY", recognizer=RULE)
    for span in spans:
        if span.label in _PLACE_LABELS:
            start, end = _find_site_start(text, span), _find_site_end(text, span)
            label = "FACILITY" if end > span.end else span.label
        else:
            start, end, label = _find_name_start(text, span, vocabulary), span.end, span.label
        if (start, end) != (span.start, span.end):
            yield replace(span, start=start, end=end, label=label, recognizer=RULE)


def _is_one_site(text: str, left: Span, right: Span) -> bool:
    between = text[left.end : right.start]
    first = text[left.start : left.end]
    return (
        {left.label, right.label} <= _PLACE_LABELS
        and "FACILITY" in (left.label, right.label)
        and _CONNECTOR.fullmatch(between) is not None
        and not (between == _LIST_CONNECTOR and _WHOLE_SITE.search(first))
        and not _DEPARTMENT.search(first)
    )


def _find_site_end(text: str, span: Span) -> int:
    is_capitals = text[span.start : span.end].isupper() and span.end - span.start > 4
    match = (_SITE_AFTER_IN_CAPITALS if is_capitals else _SITE_AFTER).match(text, span.end)
    if match is None or _DEPARTMENT.search(text[span.start : span.end]) or (is_capitals and not match[0].isupper()):
        return span.end
    return match.end() if span.label == "FACILITY" or _HAS_STRONG.search(match[0]) else span.end


def _find_site_start(text: str, span: Span) -> int:
    before = text[max(0, span.start - _WINDOW) : span.start]
    kind = _KIND_BEFORE.search(before)
    if kind:
        return span.start - len(kind[0])
    match = _CAPITALISED_BEFORE.search(before)
    if span.label != "FACILITY" or match is None or not NON_SITE_WORDS.isdisjoint(match[1].split()):
        return span.start
    return span.start - len(match[1])


def _find_name_start(text: str, span: Span, vocabulary: Vocabulary) -> int:
    if span.label != "NAME" or not text[span.start].isalpha():
        return span.start
    before = text[max(0, span.start - _WINDOW) : span.start]
    initials = _INITIALS_BEFORE.search(before)
    is_long = span.end - span.start >= _MIN_NAME_LENGTH
    if (
        initials
        and is_long
        and text[span.start].isupper() == initials[0][0].isupper()
        and not _is_lettered_term(before, initials[0])
    ):
        return span.start - len(initials[0])
    surname = _SURNAME_BEFORE.search(before)
    if surname and text[span.start].isupper() and _is_surname(surname[1], text[span.start : span.end], vocabulary):
        return span.start - len(surname[1])
    return span.start


def _is_lettered_term(before: str, initials: str) -> bool:
    """True for Hepatitis C., type A., M.D., which are not initials."""
    letters = "".join(c for c in initials if c.isalpha()).upper()
    return letters in DOTTED_ABBREVIATIONS or _LETTERED_TERM_BEFORE.search(before[: -len(initials)]) is not None


def _is_surname(before: str, name: str, vocabulary: Vocabulary) -> bool:
    words = before.strip(", ").split()
    if "," not in before and not _SURNAME_FIRST.match(name):
        return False
    is_word = any(w in vocabulary.heading_words or (w in ABBREVIATIONS and len(words) == 1) for w in words)
    return not is_word and ("," not in before or sum(map(len, words)) >= _MIN_SURNAME_LENGTH)

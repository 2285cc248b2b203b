"""Drops findings that cannot be identifiers: ordinary words, eponyms, headings.

Never applied to known identifiers from metadata.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache

from fine_tune_assets.core.bounded_patterns import compile_bounded
from fine_tune_assets.phi.recognizers.medical_terms import is_medical_term, is_scale_or_sign
from fine_tune_assets.phi.recognizers.tagged_spans import RULE as TAGGER_RULE
from fine_tune_assets.phi.spans.folded_text import fold
from fine_tune_assets.phi.spans.identifier_words import find_heading_lines, find_name_parts
from fine_tune_assets.phi.spans.spans import Intervals, Span
from fine_tune_assets.phi.spans.vocabulary import Vocabulary

_TRIMMED_LABELS = {"NAME", "LOCATION", "FACILITY"}
_TRUSTED_RULES = {
    "street_address", "po_box", "zip_code", "zip_plus_four", "uk_postcode", "name_after_title", "name_after_lowercase_title",
    "saint_site", "known_care_site", "hl7_name", "company", "name_and_degree", TAGGER_RULE,
}  # fmt: skip
"""Rules whose context makes even an ordinary word a name: Dr. Bell."""
_CONTEXT_LENGTH = 30
_TITLE_BEFORE = re.compile(r"\b(?:dr|mr|mrs|ms|miss|prof|doctor|professor)\.?\s+(?:\w+\s+)?$", re.IGNORECASE)
_PLAIN_AGE = re.compile(r"[0-8]?\d(?:\D.*)?", re.DOTALL)
"""Safe Harbor, 45 CFR 164.514(b)(2)(i)(C), allows ages up to 89. The tagger does not compare numbers."""
_NOT_A_DATE = re.compile(
    r"(?:19|20)\d\d|\d{1,3}(?:[.,]\d+)?|(?:mon|tues?|wed|thurs?|fri|sat|sun)[a-z]*\.?(?:/\w+)*|today|yesterday|tomorrow",
    re.IGNORECASE,
)
"""A bare year, a measurement such as 11.8, or a weekday: near dates, the tagger labels them DATE."""
_NUMBER_LABELS = {"ACCOUNT", "ID", "IP", "MRN", "PHONE", "SSN"}
_MEASUREMENT = re.compile(r"\d{1,3}/\d{2,3}(?:\s?mm\s?hg)?|\d{1,3}(?:\.\d+)?\s?[-–]\s?\d{1,3}(?:\.\d+)?", re.IGNORECASE)
"""A blood pressure or a range: the tagger labelled 124/72 as ACCOUNT."""
_PUBLIC_NUMBER = re.compile(r"NCT\d{8}|PMID:?\s?\d+|[A-Z]\d\d\.\d{1,3}")
"""The number of a registered trial, a paper or a diagnosis."""


_DEGREE_SUFFIX = compile_bounded(
    r",?\s+(?:M\.?D|D\.?O|Ph\.?D|R\.?N|N\.?P|P\.?A(?:-C)?|CRNA|CNM|APRN|FNP|DNP|PharmD|DDS|DMD|DPM|PsyD|LICSW|LCSW|RHIT|FAC[A-Z]|MBBS|FRCP[CS]?)\.?\Z"
)
_CLOCK_SUFFIX = re.compile(r"(?:(?<=[/.-]\d{4})|(?<=[/.-]\d\d)(?=\s+(?!19|20)))\s+(?:[01]\d|2[0-3]):?[0-5]\d\Z")
"""After a two-digit year, 2015 may be the year of a date that lacks one."""


def drop_implausible(text: str, spans: Iterable[Span], vocabulary: Vocabulary) -> Iterator[Span]:
    """Drop headings, eponyms and implausible findings; trim ordinary words from the ends of the others."""
    headings = Intervals(find_heading_lines(text, vocabulary))
    likely = [s for s in spans if not _is_false_positive(text, s, vocabulary)]
    for span in _drop_medical_terms(text, _prefer_people_over_towns(likely), vocabulary):
        for start, end in _trim_to_names(text, _trim_suffix(text, span), vocabulary):
            if not headings.has_overlap(start, end):
                yield Span(start, end, span.label, span.recognizer, span.score)


def _prefer_people_over_towns(spans: Sequence[Span]) -> list[Span]:
    """Prefer a person with a degree over a town: "Anna Quixley, MD" is not in Maryland."""
    people = {(s.start, s.end) for s in spans if s.recognizer == "name_and_degree"}
    return [s for s in spans if s.recognizer != "city_state" or (s.start, s.end) not in people]


def _trim_suffix(text: str, span: Span) -> Span:
    """Remove a degree after a name, or a time after a date."""
    ends = {"NAME": _DEGREE_SUFFIX, "DATE": _CLOCK_SUFFIX}.get(span.label)
    match = ends.search(text, span.start, span.end) if ends else None
    return replace(span, end=match.start()) if match else span


def _drop_medical_terms(text: str, spans: Sequence[Span], vocabulary: Vocabulary) -> Iterator[Span]:
    """Keep a scale or sign if another finding shows a person of that name in the report."""
    doubted = {span for span in spans if span.recognizer == TAGGER_RULE and is_scale_or_sign(text, span, vocabulary)}
    certain = [span for span in spans if span not in doubted] if doubted else []
    names = {word for s in certain if s.label == "NAME" for word in _normalize_words(text[s.start : s.end], vocabulary)}
    for span in spans:
        if span.recognizer == TAGGER_RULE and is_medical_term(text, span, vocabulary):
            continue
        if span not in doubted or not names.isdisjoint(_normalize_words(text[span.start : span.end], vocabulary)):
            yield span


def _trim_to_names(text: str, span: Span, vocabulary: Vocabulary) -> Iterable[tuple[int, int]]:
    """Trim findings of rules only: the tagger learned where a name ends."""
    is_trusted = span.recognizer in _TRUSTED_RULES or span.recognizer in vocabulary.trusted_rules
    if span.label not in _TRIMMED_LABELS or is_trusted:
        return [(span.start, span.end)]
    return find_name_parts(text, span.start, span.end, span.label == "FACILITY", vocabulary)


def _is_false_positive(text: str, span: Span, vocabulary: Vocabulary) -> bool:
    value = text[span.start : span.end]
    if span.label == "AGE":
        return _PLAIN_AGE.fullmatch(value) is not None
    if span.label == "DATE":
        return span.recognizer == TAGGER_RULE and _NOT_A_DATE.fullmatch(value) is not None
    if span.recognizer == TAGGER_RULE and span.label in _NUMBER_LABELS and _MEASUREMENT.fullmatch(value):
        return True
    if span.label in ("ID", "MRN", "ACCOUNT"):
        return _PUBLIC_NUMBER.fullmatch(value) is not None
    return span.label == "NAME" and (
        _is_eponym(text, span, vocabulary) or _is_term_not_name(value, span.recognizer, vocabulary)
    )


def _is_term_not_name(value: str, rule: str, vocabulary: Vocabulary) -> bool:
    """True for Father HCC, Lasix BID, 2 tablets, Bosniak I."""
    if rule == "name_with_initial":
        return fold(value.split()[0]).lower() in vocabulary.device_eponyms and value.split()[-1][0] in "ABCDEIVX"
    words = re.findall(r"\w+", value)
    return rule in _POSITIONAL_NAME_RULES and all(word in vocabulary.abbreviations for word in words)


_POSITIONAL_NAME_RULES = {"name_of_relative", "name_after_role", "surname_first"}
"""Rules that take any capitalised word in the right position for a name."""


def _is_eponym(text: str, span: Span, vocabulary: Vocabulary) -> bool:
    words = _normalize_words(text[span.start : span.end], vocabulary)
    if (
        not words
        or len(words) > 2
        or words[-1] not in vocabulary.eponyms
        or _TITLE_BEFORE.search(text[max(0, span.start - 20) : span.start])
    ):
        return False
    if _compile_noun(vocabulary.eponym_noun).match(text, span.end):
        return True
    around = text[max(0, span.start - _CONTEXT_LENGTH) : span.start] + " " + text[span.end : span.end + _CONTEXT_LENGTH]
    return (
        len(words) == 1
        and words[0] in vocabulary.standalone_eponyms
        and not vocabulary.standalone_eponyms.isdisjoint(_normalize_words(around, vocabulary))
    )


@lru_cache
def _compile_noun(eponym_noun: str) -> re.Pattern[str]:
    return re.compile(rf"(?:['’]s?)?[ -]{eponym_noun}\b", re.IGNORECASE)


def _normalize_words(text: str, vocabulary: Vocabulary) -> list[str]:
    """In lower case, without accents and possessives."""
    return [
        re.sub(r"['’]?s?$", "", w) if w not in vocabulary.eponyms else w
        for w in re.findall(r"[a-z]+(?:['’]s)?", fold(text).lower())
    ]

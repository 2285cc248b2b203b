"""Drops findings that are certainly no identifier: ordinary words, eponyms, headings.

Owns what is taken back from the recognisers. Never asked about what the report's metadata states.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from fine_tune_assets.phi.recognizers.medical_terms import abbreviations, is_medical_term, is_scale_or_sign, named_terms
from fine_tune_assets.phi.recognizers.tagged_spans import RULE as TAGGER_RULE
from fine_tune_assets.phi.spans.folded_text import fold
from fine_tune_assets.phi.spans.spans import Span
from fine_tune_assets.phi.spans.word_lists import DISEASES_ALONE, EPONYM_NOUN, EPONYMS, name_like_parts, protected_lines

_TRIMMED_LABELS = {"NAME", "LOCATION", "FACILITY"}
_TRUSTED_RULES = {
    "street_address", "post_box", "zip_code", "zip_plus_four", "uk_postcode", "title_name", "lower_case_title", "saint_site",
    "known_care_site", "caret_name", "company", "person_and_degree", TAGGER_RULE,
}  # fmt: skip
"""Rules whose context makes even an ordinary word a name: Dr. Bell."""
_EPONYM_NOUN = re.compile(rf"(?:['’]s?)?[ -]{EPONYM_NOUN}\b", re.IGNORECASE)
_NEIGHBOURS = 30
_TITLE_BEFORE = re.compile(r"\b(?:dr|mr|mrs|ms|miss|prof|doctor|professor)\.?\s+(?:\w+\s+)?$", re.IGNORECASE)
_PLAIN_AGE = re.compile(r"[0-8]?\d(?:\D.*)?", re.DOTALL)
"""Safe Harbor, 45 CFR 164.514(b)(2)(i)(C): ages up to 89 are no identifiers. The tagger does not count."""
_NO_DATE = re.compile(
    r"(?:19|20)\d\d|\d{1,3}(?:[.,]\d+)?|(?:mon|tues?|wed|thurs?|fri|sat|sun)[a-z]*\.?(?:/\w+)*|today|yesterday|tomorrow",
    re.IGNORECASE,
)
"""A bare year, a measurement such as 11.8, a weekday alone: the tagger takes them for dates where dates stand around."""
_NUMBERS = {"ACCOUNT", "ID", "IP", "MRN", "PHONE", "SSN"}
_MEASUREMENT = re.compile(r"\d{1,3}/\d{2,3}(?:\s?mm\s?hg)?|\d{1,3}(?:\.\d+)?\s?[-–]\s?\d{1,3}(?:\.\d+)?", re.IGNORECASE)
"""A blood pressure or a range: the tagger once took 124/72 for an account."""
_PUBLIC_NUMBER = re.compile(r"NCT\d{8}|PMID:?\s?\d+|[A-Z]\d\d\.\d{1,3}")
"""Of a registered trial, a paper, a diagnosis."""


_DEGREE_END = re.compile(
    r",?\s+(?:M\.?D|D\.?O|Ph\.?D|R\.?N|N\.?P|P\.?A(?:-C)?|CRNA|CNM|APRN|FNP|DNP|PharmD|DDS|DMD|DPM|PsyD|LICSW|LCSW|RHIT|FAC[A-Z]|MBBS|FRCP[CS]?)\.?\Z"
)
_CLOCK_END = re.compile(r"(?:(?<=[/.-]\d{4})|(?<=[/.-]\d\d)(?=\s+(?!19|20)))\s+(?:[01]\d|2[0-3]):?[0-5]\d\Z")
"""After a year of two digits 2015 may be the year of a day that has none."""


def plausible(text: str, spans: Iterable[Span]) -> Iterator[Span]:
    """Findings without ordinary words at their ends, without section headings, eponyms and what is plainly no identifier."""
    headings = protected_lines(text)
    likely = [s for s in spans if not _is_plainly_none(text, s)]
    for span in _without_medical_terms(text, _people_instead_of_towns(likely)):
        for start, end in _name_parts(text, _trimmed(text, span)):
            if not any(start < stop and begin < end for begin, stop in headings):
                yield Span(start, end, span.label, span.rule, span.score)


def _people_instead_of_towns(spans: Sequence[Span]) -> list[Span]:
    """ "Anna Quixley, MD" is no town of Maryland."""
    people = {(s.start, s.end) for s in spans if s.rule == "person_and_degree"}
    return [s for s in spans if s.rule != "city_state" or (s.start, s.end) not in people]


def _trimmed(text: str, span: Span) -> Span:
    """Without a degree after a name, or a time of day after a date."""
    ends = {"NAME": _DEGREE_END, "DATE": _CLOCK_END}.get(span.label)
    match = ends.search(text, span.start, span.end) if ends else None
    return replace(span, end=match.start()) if match else span


def _without_medical_terms(text: str, spans: Sequence[Span]) -> Iterator[Span]:
    """A scale or sign is kept if another finding says that somebody of that name is in the report."""
    doubted = [span for span in spans if span.rule == TAGGER_RULE and is_scale_or_sign(text, span)]
    certain = [span for span in spans if span not in doubted] if doubted else []
    names = {word for s in certain if s.label == "NAME" for word in _words(text[s.start : s.end])}
    for span in spans:
        if span.rule == TAGGER_RULE and is_medical_term(text, span):
            continue
        if span not in doubted or not names.isdisjoint(_words(text[span.start : span.end])):
            yield span


def _name_parts(text: str, span: Span) -> Iterable[tuple[int, int]]:
    """The tagger has learned where a name ends; the rules have not."""
    if span.label not in _TRIMMED_LABELS or span.rule in _TRUSTED_RULES:
        return [(span.start, span.end)]
    return name_like_parts(text, span.start, span.end, span.label == "FACILITY")


def _is_plainly_none(text: str, span: Span) -> bool:
    value = text[span.start : span.end]
    if span.label == "AGE":
        return _PLAIN_AGE.fullmatch(value) is not None
    if span.label == "DATE":
        return span.rule == TAGGER_RULE and _NO_DATE.fullmatch(value) is not None
    if span.rule == TAGGER_RULE and span.label in _NUMBERS and _MEASUREMENT.fullmatch(value):
        return True
    if span.label in ("ID", "MRN", "ACCOUNT"):
        return _PUBLIC_NUMBER.fullmatch(value) is not None
    return span.label == "NAME" and (_is_eponym(text, span) or _is_term_in_place_of_a_name(value, span.rule))


def _is_term_in_place_of_a_name(value: str, rule: str) -> bool:
    """Father HCC, Lasix BID, 2 tablets; Bosniak I."""
    if rule == "name_with_initial":
        return fold(value.split()[0]).lower() in named_terms() and value.split()[-1][0] in "ABCDEIVX"
    return rule in _NAMES_BY_PLACE and all(word in abbreviations() for word in re.findall(r"\w+", value))


_NAMES_BY_PLACE = {"relative_name", "role_name", "surname_first"}
"""Rules by which any capitalised word in the right place is a name."""


def _is_eponym(text: str, span: Span) -> bool:
    words = _words(text[span.start : span.end])
    if (
        not words
        or len(words) > 2
        or words[-1] not in EPONYMS
        or _TITLE_BEFORE.search(text[max(0, span.start - 20) : span.start])
    ):
        return False
    if _EPONYM_NOUN.match(text, span.end):
        return True
    around = text[max(0, span.start - _NEIGHBOURS) : span.start] + " " + text[span.end : span.end + _NEIGHBOURS]
    return len(words) == 1 and words[0] in DISEASES_ALONE and not DISEASES_ALONE.isdisjoint(_words(around))


def _words(text: str) -> list[str]:
    """In small letters, without accents and possessive."""
    return [
        re.sub(r"['’]?s?$", "", w) if w not in EPONYMS else w
        for w in re.findall(r"[a-z]+(?:['’]s)?", fold(text).lower())
    ]

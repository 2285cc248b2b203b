"""Finds again, everywhere in a report, what was found once in it: names, numbers and addresses of mail.

Owns how far a finding is trusted. A guess that was wrong once must not remove a word from the whole report: an ordinary
word is taken only where it is capitalised within a sentence or has a title.
"""

from collections.abc import Callable, Iterator, Sequence

from fine_tune_assets.phi.known_identifiers.names import find_names, is_within_sentence
from fine_tune_assets.phi.known_identifiers.numbers import find_id, find_phone
from fine_tune_assets.phi.known_identifiers.stated_names import Care, Name, NameIndex, read_names
from fine_tune_assets.phi.spans.folded_text import FoldedText, fold, key_of
from fine_tune_assets.phi.spans.spans import KNOWN, Offsets, Span
from fine_tune_assets.phi.spans.word_lists import TITLES

RULE = "found_elsewhere"
LEAST_SCORE = 0.5
"""A finding below it is not looked for elsewhere."""
_SHORTEST_NUMBER = 5


def propagate_names(text: str, spans: Sequence[Span]) -> list[Span]:
    """What the findings say about the rest of the text; places that they cover already are left out."""
    trusted = [span for span in spans if span.score >= LEAST_SCORE]
    if not trusted:
        return []
    read = FoldedText(text)
    found = {*_names(read, text, trusted), *_values(read, text, trusted)}
    new = (s for s in found if not any(span.start <= s.start and s.end <= span.end for span in spans))
    return sorted(new, key=lambda s: (s.start, s.end, s.label))


def _names(read: FoldedText, text: str, spans: Sequence[Span]) -> Iterator[Span]:
    by_care: dict[Care, list[Name]] = {}
    named = [span for span in spans if span.label == "NAME"]
    for span in named:
        for name in read_names(text[span.start : span.end]):
            by_care.setdefault(_care_of(read, span), []).append(name)
    score = max((span.score for span in named), default=0.0)
    for care, names in by_care.items():
        for start, end in find_names(read, NameIndex(dict.fromkeys(names), is_propagated=True, highest=care)):
            # Words are of letters: the H of H0ME is none of a name.
            if end - start > 1 and not any(c.isdigit() for c in text[max(0, start - 1) : start] + text[end : end + 1]):
                yield Span(start, end, "NAME", RULE, score)


def _care_of(read: FoldedText, span: Span) -> Care:
    """In any case only after a title, or if it was found in lower case. One word at the beginning of a sentence, or one
    that also stands there in lower case, may be a medicine: of it, only what is capitalised within a sentence is taken.
    """
    first = read.folded[span.start : span.end]
    is_titled = key_of(first.split(".")[0].split(" ")[0]) in TITLES or _has_title_before(read, span)
    if span.rule == KNOWN or is_titled or first.islower():
        return Care.ANY
    places = read.places.get(key_of(first), ())
    is_also_plain = any(read.word(place).written.islower() for place in places)
    is_certain = " " in first or is_within_sentence(read.folded, span.start)
    return Care.CAPITAL if is_certain and not is_also_plain else Care.MIDDLE


def _has_title_before(read: FoldedText, span: Span) -> bool:
    before = read.folded[max(0, span.start - 12) : span.start].replace(".", " ").split()
    return bool(before) and key_of(before[-1]) in TITLES


def _values(read: FoldedText, text: str, spans: Sequence[Span]) -> Iterator[Span]:
    values = {(span.label, text[span.start : span.end]): span.score for span in sorted(spans, key=lambda s: s.score)}
    for (label, value), score in values.items():
        find = _FINDERS.get(label)
        if find and sum(c.isalnum() for c in value) >= _SHORTEST_NUMBER:
            yield from (Span(start, end, label, RULE, score) for start, end in find(read, value))


def _find_number(read: FoldedText, value: str) -> Iterator[Offsets]:
    if any(c.isdigit() for c in value):
        yield from find_id(read, value)


def _find_literal(read: FoldedText, value: str) -> Iterator[Offsets]:
    key = fold(value).lower()
    at = read.lower.find(key)
    while at >= 0:
        yield at, at + len(key)
        at = read.lower.find(key, at + len(key))


_FINDERS: dict[str, Callable[[FoldedText, str], Iterator[Offsets]]] = {
    **dict.fromkeys(("ACCOUNT", "DEVICE", "HEALTH_PLAN", "ID", "LICENSE", "MRN", "SSN", "VEHICLE"), _find_number),
    **dict.fromkeys(("FAX", "PHONE"), find_phone),
    **dict.fromkeys(("EMAIL", "IP", "URL"), _find_literal),
}

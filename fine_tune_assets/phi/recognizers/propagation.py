"""Finds further occurrences of identifiers that were found once in a report: names, numbers, e-mail and IP addresses, URLs.

A wrong guess must not remove a word from the whole report, so an ordinary word counts only if it is capitalised within a sentence
or follows a title.
"""

from collections.abc import Callable, Container, Iterator, Sequence

from fine_tune_assets.phi.known_identifiers.known_names import find_names, is_mid_sentence
from fine_tune_assets.phi.known_identifiers.known_numbers import find_id, find_phone
from fine_tune_assets.phi.known_identifiers.stated_names import MatchPolicy, Name, NameIndex, read_names
from fine_tune_assets.phi.recognizers.domain_rules import DomainRules
from fine_tune_assets.phi.spans.folded_text import FoldedText, fold, make_key
from fine_tune_assets.phi.spans.identifier_words import TITLES
from fine_tune_assets.phi.spans.spans import KNOWN_RULE, Intervals, Offsets, Span
from fine_tune_assets.phi.spans.vocabulary import Vocabulary

RULE = "propagated"
MIN_SCORE = 0.5
"""Findings with a lower score are not propagated."""
_MIN_VALUE_LENGTH = 5
_MAX_NAME_LENGTH = 300


def propagate_spans(text: str, spans: Sequence[Span], domain: DomainRules) -> list[Span]:
    """Occurrences of the findings elsewhere in the text, without places that are already covered."""
    trusted = [span for span in spans if span.score >= MIN_SCORE]
    if not trusted:
        return []
    folded = FoldedText(text)
    found = {
        *_propagate_names(folded, text, trusted, domain.vocabulary),
        *_propagate_values(folded, text, trusted, domain.own_kinds),
    }
    covered = Intervals((span.start, span.end) for span in spans)
    new = (s for s in found if not covered.has_around(s.start, s.end))
    return sorted(new, key=lambda s: (s.start, s.end, s.label))


def _propagate_names(folded: FoldedText, text: str, spans: Sequence[Span], vocabulary: Vocabulary) -> Iterator[Span]:
    by_policy: dict[MatchPolicy, list[Name]] = {}
    named = [span for span in spans if span.label == "NAME" and span.end - span.start <= _MAX_NAME_LENGTH]
    for span in named:
        for name in read_names(text[span.start : span.end]):
            by_policy.setdefault(_choose_policy(folded, span), []).append(name)
    score = max((span.score for span in named), default=0.0)
    for policy, names in by_policy.items():
        for start, end in find_names(
            folded, NameIndex(dict.fromkeys(names), vocabulary, is_propagated=True, loosest_policy=policy)
        ):
            # Skip words with digits: the H of H0ME is not part of a name.
            if end - start > 1 and not any(c.isdigit() for c in text[max(0, start - 1) : start] + text[end : end + 1]):
                yield Span(start, end, "NAME", RULE, score)


def _choose_policy(folded: FoldedText, span: Span) -> MatchPolicy:
    """Choose how strictly the words of a finding must match elsewhere.

    Lower case counts only after a title, or if the finding was in lower case. A single word at the start of a sentence, or one
    that also occurs in lower case, may be a medicine: it counts only if capitalised within a sentence.
    """
    found_text = folded.folded[span.start : span.end]
    is_titled = make_key(found_text.split(".")[0].split(" ")[0]) in TITLES or _has_title_before(folded, span)
    if span.recognizer == KNOWN_RULE or is_titled or found_text.islower():
        return MatchPolicy.ANY_CASE
    also_in_lower_case = make_key(found_text) in folded.keys_in_lower_case
    is_certain = " " in found_text or is_mid_sentence(folded.folded, span.start)
    return MatchPolicy.CAPITALISED if is_certain and not also_in_lower_case else MatchPolicy.MID_SENTENCE


def _has_title_before(folded: FoldedText, span: Span) -> bool:
    before = folded.folded[max(0, span.start - 12) : span.start].replace(".", " ").split()
    return bool(before) and make_key(before[-1]) in TITLES


def _propagate_values(
    folded: FoldedText, text: str, spans: Sequence[Span], own_kinds: Container[str]
) -> Iterator[Span]:
    values = {(span.label, text[span.start : span.end]): span.score for span in sorted(spans, key=lambda s: s.score)}
    for (label, value), score in values.items():
        find = _find_number if label in own_kinds else _FINDERS.get(label)
        if find and sum(c.isalnum() for c in value) >= _MIN_VALUE_LENGTH:
            yield from (Span(start, end, label, RULE, score) for start, end in find(folded, value))


def _find_number(folded: FoldedText, value: str) -> Iterator[Offsets]:
    if any(c.isdigit() for c in value):
        yield from find_id(folded, value)


def _find_literal(folded: FoldedText, value: str) -> Iterator[Offsets]:
    key = fold(value).lower()
    at = folded.lower.find(key)
    while at >= 0:
        yield at, at + len(key)
        at = folded.lower.find(key, at + len(key))


_FINDERS: dict[str, Callable[[FoldedText, str], Iterator[Offsets]]] = {
    **dict.fromkeys(("ACCOUNT", "DEVICE", "HEALTH_PLAN", "ID", "LICENSE", "MRN", "SSN", "VEHICLE"), _find_number),
    **dict.fromkeys(("FAX", "PHONE"), find_phone),
    **dict.fromkeys(("EMAIL", "IP", "URL"), _find_literal),
}

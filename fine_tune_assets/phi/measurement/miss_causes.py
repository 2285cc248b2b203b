"""Why the scrubber left a labelled identifier: the rule, list or kept value of the domain that decided it.

Looks at rules and lists only. A tagger gives no reason, so an identifier that only it could find has no rule of its form.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain

from fine_tune_assets.phi.measurement.recall import group_label
from fine_tune_assets.phi.recognizers.domain_rules import DomainRules
from fine_tune_assets.phi.recognizers.plausibility import drop_implausible
from fine_tune_assets.phi.recognizers.rules.rule import Rule
from fine_tune_assets.phi.spans.spans import Span
from fine_tune_assets.recipes.domain_packs import LoadedPack

_CONTEXT_CHARACTERS = 60
_WORD = re.compile(r"[^\W\d_]+")
_NUMBERS = group_label("")


class MissCause(StrEnum):
    NOT_SCRUBBED = "not_scrubbed"
    ORDINARY_REST = "ordinary_rest"
    KEPT_VALUE = "kept_value"
    KEPT_DATE = "kept_date"
    PROTECTED_WORD = "protected_word"
    ORDINARY_WORD = "ordinary_word"
    DROPPED = "dropped"
    LOW_SCORE = "low_score"
    WRONG_CHECKSUM = "wrong_checksum"
    NO_CONTEXT = "no_context"
    NO_FORM = "no_form"
    NO_RULE = "no_rule"


@dataclass(frozen=True)
class Diagnosis:
    cause: MissCause
    rule: str | None = None
    """Name of the recognizer or kept value."""


def find_miss_cause(
    text: str, gold: Span, missed: Span, pack: LoadedPack, rules: DomainRules, score: float
) -> Diagnosis:
    """`missed`: the part of the labelled identifier `gold` that remained. `score`: the recipe's minimum score of a finding."""
    if _is_ordinary_rest(text, gold, missed, rules):
        return Diagnosis(MissCause.ORDINARY_REST)
    for span in (gold, missed):
        if kept := _find_keeper(text, span, pack, rules):
            return kept
    related = _list_related_rules(gold.label, text[gold.start : gold.end], rules)
    if not related:
        return Diagnosis(MissCause.NO_RULE)
    found = list(chain.from_iterable(_try_rule(text, missed, rule, rules, score) for rule in related))
    # The cause that is nearest to a finding.
    return min(found, key=lambda one: list(MissCause).index(one.cause), default=Diagnosis(MissCause.NO_FORM))


def _is_ordinary_rest(text: str, gold: Span, missed: Span, rules: DomainRules) -> bool:
    """Whether the rest of the label was removed, and only ordinary words or punctuation of it remain: `patient ID:`."""
    if (missed.start, missed.end) == (gold.start, gold.end):
        return False
    left, vocabulary = text[missed.start : missed.end], rules.vocabulary
    if any(c.isdigit() for c in left) or (group_label(gold.label) == "NAME" and left.lower() != left):
        return False  # Sunday is a name, too
    known = vocabulary.ordinary_words | vocabulary.function_words | vocabulary.heading_words
    return all(word.lower() in known for word in _WORD.findall(left))


def _find_keeper(text: str, span: Span, pack: LoadedPack, rules: DomainRules) -> Diagnosis | None:
    """What the domain keeps although a recognizer finds it."""
    probe = Span(span.start, span.end, group_label(span.label), "", 1.0)
    if list(rules.drop_kept(text, [probe])):
        return None
    for value, pattern in zip(pack.pack.kept_values, rules.kept_values, strict=True):
        if any(match.start() <= span.start and match.end() >= span.end for match in pattern.finditer(text)):
            return Diagnosis(MissCause.KEPT_VALUE, value.name)
    return Diagnosis(MissCause.KEPT_DATE if probe.label == "DATE" else MissCause.PROTECTED_WORD)


def _list_related_rules(label: str, value: str, rules: DomainRules) -> list[Rule]:
    """The rules of this kind; for a label that is no kind of the pack, the rules that measure as the same, such as numbers."""
    exact = [rule for rule in rules.rules if rule.label == label.upper()]
    if exact or (group_label(label) == _NUMBERS and not any(c.isdigit() for c in value)):
        return exact
    return [rule for rule in rules.rules if group_label(rule.label) == group_label(label)]


def _try_rule(text: str, missed: Span, rule: Rule, rules: DomainRules, score: float) -> Iterator[Diagnosis]:
    for match in rule.pattern.finditer(text):
        start, end = match.span(rule.group)
        if start > missed.start or end < missed.end:
            continue
        before = text[max(0, start - _CONTEXT_CHARACTERS) : start]
        if rule.context_before is not None and not rule.context_before.search(before):
            yield Diagnosis(MissCause.NO_CONTEXT, rule.name)
        elif rule.checksum is not None and not rule.checksum(text[start:end]):
            yield Diagnosis(MissCause.WRONG_CHECKSUM, rule.name)
        elif rule.score < score:
            yield Diagnosis(MissCause.LOW_SCORE, rule.name)
        else:
            yield _explain_drop(text, Span(start, end, rule.label, rule.name, rule.score), rules)


def _explain_drop(text: str, found: Span, rules: DomainRules) -> Diagnosis:
    """A rule finds it, and a later step drops it or trims words from its ends."""
    kept = list(drop_implausible(text, [found], rules.vocabulary))
    words = {word.lower() for word in _WORD.findall(text[found.start : found.end])}
    is_trimmed = all((one.start, one.end) != (found.start, found.end) for one in kept)
    if is_trimmed and words and not words.isdisjoint(rules.vocabulary.ordinary_words):
        return Diagnosis(MissCause.ORDINARY_WORD, found.recognizer)
    return Diagnosis(MissCause.DROPPED, found.recognizer)

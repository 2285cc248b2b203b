"""Applies only the known identifiers, or only the rules, to a text."""

from fine_tune_assets.phi.known_identifiers.finder import find_known_identifiers
from fine_tune_assets.phi.recognizers.rules.rule_list import apply_rules
from fine_tune_assets.phi.spans.spans import merge_spans, replace_spans
from fine_tune_assets_tests.clinical_domain import RULES, VOCABULARY


def scrubbed(text: str, kind: str, *values: str) -> str:
    known = [{"kind": kind, "value": value} for value in values]
    return replace_spans(text, merge_spans(text, find_known_identifiers(text, known, VOCABULARY)))


def by_rules(text: str) -> str:
    return replace_spans(text, merge_spans(text, apply_rules(text, RULES.rules)))

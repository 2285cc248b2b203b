"""What is left of a text when only what its metadata states, or only what the rules find, is removed."""

from fine_tune_assets.phi.known_identifiers.finder import find_known_identifiers
from fine_tune_assets.phi.recognizers.rules.registry import find_by_rules
from fine_tune_assets.phi.spans.spans import merge_spans, replace_spans


def scrubbed(text: str, kind: str, *values: str) -> str:
    known = [{"kind": kind, "value": value} for value in values]
    return replace_spans(text, merge_spans(text, find_known_identifiers(text, known)))


def by_rules(text: str) -> str:
    """Without the tagger."""
    return replace_spans(text, merge_spans(text, find_by_rules(text)))

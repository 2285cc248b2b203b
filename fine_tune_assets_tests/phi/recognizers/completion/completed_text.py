"""The text after completion, given what was found in it."""

from fine_tune_assets.phi.recognizers.completion.span_completion import complete_spans
from fine_tune_assets.phi.recognizers.domain_rules import load_rules
from fine_tune_assets.phi.spans.spans import Span, merge_spans, replace_spans


def complete(text: str, *found: tuple[str, str], domain: str = "clinical") -> str:
    """`found`: value and kind of each finding, in order."""
    spans, at = [], 0
    for value, label in found:
        at = text.index(value, at)
        spans.append(Span(at, at + len(value), label, "tagger", 0.9))
        at += len(value)
    return replace_spans(text, complete_spans(text, merge_spans(text, spans), load_rules(domain)))

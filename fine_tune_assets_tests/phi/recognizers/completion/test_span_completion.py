"""What completion keeps of the findings: their order, the mark of a known identifier, and values that the domain keeps."""

from fine_tune_assets.phi.recognizers.completion.span_completion import RULE, complete_spans
from fine_tune_assets.phi.recognizers.domain_rules import load_rules
from fine_tune_assets.phi.spans.spans import KNOWN_RULE, Span
from fine_tune_assets_tests.clinical_domain import RULES


def test_findings_stay_in_order_and_do_not_overlap() -> None:
    text = "Gethin ap Rhys, 4471-B, at 12 Elm Row Apt 4, Moga"
    parts = [("Gethin", "NAME"), ("Rhys", "NAME"), ("4471", "ID"), ("12 Elm Row", "LOCATION"), ("Moga", "LOCATION")]
    spans = [Span(text.index(v), text.index(v) + len(v), label, "tagger", 0.9) for v, label in parts]
    complete = complete_spans(text, spans, RULES)
    assert [text[s.start : s.end] for s in complete] == ["Gethin ap Rhys", "4471-B", "12 Elm Row Apt 4, Moga"]
    assert {s.recognizer for s in complete} == {RULE}


def test_joined_finding_of_a_known_name_stays_known() -> None:
    """Known identifiers win over every other finding, also after they grew."""
    text = "Gethin ap Rhys signed"
    spans = [Span(0, 6, "NAME", KNOWN_RULE, 1.0), Span(10, 14, "NAME", "tagger", 0.9)]
    assert [(s.end, s.recognizer) for s in complete_spans(text, spans, RULES)] == [(14, KNOWN_RULE)]


def test_amount_next_to_a_code_does_not_join_it() -> None:
    """In law, "EUR 500-4471" is an amount and a code; the amount must stay."""
    text = "EUR 500-4471 is due"
    span = Span(8, 12, "ID", "tagger", 0.9)
    assert complete_spans(text, [span], load_rules("law")) == (span,)
    assert complete_spans(text, [span], RULES) != (span,)


def test_text_without_findings_has_nothing_to_complete() -> None:
    assert complete_spans("12 Elm Row, Apt 4", (), RULES) == ()

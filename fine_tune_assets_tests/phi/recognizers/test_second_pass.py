"""What withholds a scrubbed report, and that ordinary text does not."""

import pytest

from fine_tune_assets.phi.known_identifiers.finder import find_known_identifiers
from fine_tune_assets.phi.recognizers.second_pass import ResidualPhi, find_residual_phi
from fine_tune_assets.phi.spans.spans import Span, merge_spans, replace_spans
from fine_tune_assets_tests.clinical_domain import RULES, VOCABULARY


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Mail a.b@example.org.", "EMAIL"),
        ("See https://example.org/a and rest", "URL"),
        ("See www.example.org/a", "URL"),
        ("See clinic.example.com now", "URL"),
        ("From 192.168.10.14.", "ID"),
        ("Device 00:1A:2B:3C:4D:5E", "ID"),
        ("Id 550e8400-e29b-41d4-a716-446655440000", "ID"),
        ("Number 123-45-6789.", "SSN"),
        ("SSN 123456789", "SSN"),
        ("Call (559) 555-0142.", "PHONE"),
        ("Call 559.555.0142", "PHONE"),
        ("Call +44 20 7946 0018", "PHONE"),
        ("Phone: 555-0142", "PHONE"),
        ("On 2024-03-14.", "DATE"),
        ("On 3/14/2024.", "DATE"),
        ("On 03/14/24,", "DATE"),
        ("On 14.03.2024", "DATE"),
        ("On March 14th, 2024", "DATE"),
        ("On 14 Mar 2024", "DATE"),
        ("On March 14th", "DATE"),
        ("mrn: 5484367", "ID"),
        ("medical record number is 123546", "ID"),
        ("Account 12345678", "ID"),
        ("The 123456789012 was", "ID"),
        ("Card 4111 1111 1111 1111", "ID"),
        ("Lives in 62704-1234", "LOCATION"),
        ("Springfield, IL 62704", "LOCATION"),
        ("At 768 Silver Road", "LOCATION"),
        ("At 12 N. Main St", "LOCATION"),
        ("PO Box 12", "LOCATION"),
        ("Seen by Dr. Quixley", "NAME"),
        ("Mrs O’Brien", "NAME"),
        ("Doctor Quixley", "NAME"),
        ("Mr. J. Quixley", "NAME"),
    ],
)
def test_values_with_a_telling_form_withhold_the_report(text: str, kind: str) -> None:
    """The gate closes on each of these."""
    leaks = find_residual_phi(f"[NAME] rests. {text}", (), (), RULES)
    assert leaks == ResidualPhi({kind: 1})
    assert leaks


@pytest.mark.parametrize(
    "text",
    [
        "[NAME], [DATE]: MRN [ID], phone [PHONE], [EMAIL], [URL], SSN [SSN], Dr. [NAME], age [AGE], [LOCATION], IL [LOCATION].",
        "BP 140/80, 120/80/70, pulse 72, SpO2 98%, temperature 36.8, pain 3/14, 5/5 strength.",
        "WBC 12,000, platelets 250000, hCG 1234567 IU, ratio 1.2.3, dose 0.123456789, 1000000 units.",
        "Since 2019, for 3-4 days, 2-3 times, in March, in March 2019, T1-T12, L4-L5, C5/6.",
        "Doctor: How are you? Patient: Fine. Dr. Who said. Mr. You. 2 Drive. Doctor Will come?",
        "He took 12 Main meals. Grade 3/6. 1-800 steps, e.g. slow.",
        "Parkinson's disease, Murphy's sign, M.D., p.o., q.i.d., b.i.d.",
        "The emergency department; the ICU.",
    ],
)
def test_placeholders_and_clinical_text_do_not_withhold(text: str) -> None:
    """Users switch off a gate that closes on ordinary reports."""
    assert find_residual_phi(text, (), (), RULES) == ResidualPhi({})
    assert not find_residual_phi(text, (), (), RULES)


KNOWN = [
    {"kind": "name", "value": "DOE^JOHN^A"},
    {"kind": "id", "value": "MRN0012345"},
    {"kind": "date", "value": "1957-03-14"},
    {"kind": "phone", "value": "(559) 555-0142"},
    {"kind": "address", "value": "12 Main St, Springfield, IL 62704"},
]


def test_known_identifiers_withhold_the_report() -> None:
    """In any form, counted by kind and never quoted."""
    leaks = find_residual_phi("doe, of springfield, 12345, born the 14th of March", KNOWN, (), RULES)
    assert leaks == ResidualPhi({"DATE": 1, "ID": 1, "LOCATION": 1, "NAME": 1})
    assert "doe" not in repr(leaks)


def test_verbatim_known_value_withholds_even_if_no_rule_matches() -> None:
    """Rules about quantities and words may be wrong: a known value that occurs verbatim is residual PHI."""
    known = [{"kind": "id", "value": "12345678"}, {"kind": "name", "value": "Not Available"}]
    assert find_residual_phi("12345678 units", known, (), RULES) == ResidualPhi({"ID": 1})
    assert find_residual_phi("The film is not available.", known, (), RULES) == ResidualPhi({})


def test_name_equal_to_a_placeholder_word_ignores_placeholders() -> None:
    """Otherwise Mr. Date's reports would always be withheld."""
    known = [{"kind": "name", "value": "Phone Date"}, {"kind": "name", "value": "Name"}]
    assert find_residual_phi("[NAME] came on [DATE], [PHONE].", known, (), RULES) == ResidualPhi({})


def test_tagger_findings_count_except_in_placeholders() -> None:
    """The tagger also reads scrubbed text, and may label a placeholder as a name."""
    text = "[NAME] and Quixley"
    spans = [Span(0, 6, "NAME", "tagger", 0.4), Span(11, 18, "NAME", "tagger", 0.4)]
    assert find_residual_phi(text, (), spans, RULES) == ResidualPhi({"NAME": 1})


def test_overlapping_findings_count_once() -> None:
    """Two finders of the same value count as one leak."""
    assert find_residual_phi("Dr. Doe", KNOWN, [Span(4, 7, "NAME", "tagger", 0.4)], RULES) == ResidualPhi({"NAME": 1})


def test_other_brackets_are_searched() -> None:
    """[DOE] is a name in brackets."""
    assert find_residual_phi("[DOE] came", KNOWN, (), RULES) == ResidualPhi({"NAME": 1})


@pytest.mark.parametrize(
    "text",
    [
        "Doe, John A. of 12 Main Street, Springfield, IL 62704-1111, MRN 12345, 555-0142. J.D. said so. John's arm.",
        "DOE^JOHN^A|12345|19570314|Springfield\nJohn\nDoe was born on March 14, 1957, in springfield.",
        "Dr. Doe. A scan. I saw John. In Springfield, IL, at 12 Main St.",
    ],
)
def test_text_scrubbed_with_the_same_metadata_passes(text: str) -> None:
    """The gate opens: text next to a placeholder must not become a finding."""
    scrubbed = replace_spans(text, merge_spans(text, find_known_identifiers(text, KNOWN, VOCABULARY)))
    assert find_residual_phi(scrubbed, KNOWN, (), RULES) == ResidualPhi({})

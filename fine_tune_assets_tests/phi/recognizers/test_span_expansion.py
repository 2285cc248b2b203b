"""Partial names are widened to the full name, and no further."""

import pytest

from fine_tune_assets.phi.recognizers.span_expansion import expand_spans
from fine_tune_assets.phi.spans.spans import Span, merge_spans, replace_spans
from fine_tune_assets_tests.clinical_domain import VOCABULARY


def after_widening(text: str, *found: tuple[str, str]) -> str:
    spans = [Span(text.index(v), text.index(v) + len(v), label, "tagger", 0.9) for v, label in found]
    spans.sort(key=lambda s: s.start)
    return replace_spans(text, merge_spans(text, [*spans, *expand_spans(text, spans, VOCABULARY)]))


@pytest.mark.parametrize(
    ("text", "found", "expected"),
    [
        ("From The Alders at Penmoor.", [("The Alders", "FACILITY"), ("Penmoor", "LOCATION")], "From [FACILITY]."),
        ("Ordered from Penmoor Medical Supply.", [("Penmoor Medical", "FACILITY")], "Ordered from [FACILITY]."),
        ("Seen at Penmoor Imaging.", [("Penmoor", "LOCATION")], "Seen at [FACILITY]."),
        ("PENMOOR REHAB & CARE", [("PENMOOR", "LOCATION")], "[FACILITY]"),
        ("At Univ. of Penmoor Clinic", [("Penmoor Clinic", "FACILITY")], "At [FACILITY]"),
        ("Images from Gull Harbor Imaging.", [("Harbor Imaging", "FACILITY")], "Images from [FACILITY]."),
        ("Department of Rheumatology", [("Department", "FACILITY")], "[FACILITY] of Rheumatology"),
        (
            "From Penmoor Hospital & Quillan.",
            [("Penmoor Hospital", "FACILITY"), ("Quillan", "LOCATION")],
            "From [FACILITY] & [LOCATION].",
        ),
        ("PENMOOR PLAN: rest", [("PENMOOR", "LOCATION")], "[LOCATION] PLAN: rest"),
        ("He left Penmoor. Care was good.", [("Penmoor", "LOCATION")], "He left [LOCATION]. Care was good."),
    ],
)
def test_facility_name_becomes_one_finding(text: str, found: list[tuple[str, str]], expected: str) -> None:
    """The rest of a name next to a placeholder still reveals the site."""
    assert after_widening(text, *found) == expected


@pytest.mark.parametrize(
    ("text", "found", "expected"),
    [
        ("Seen by T. Quixley.", "Quixley", "Seen by [NAME]."),
        ("saturday t.quixley rn", "quixley", "saturday [NAME] rn"),
        ("He has hepatitis C. Quixley agreed.", "Quixley", "He has hepatitis C. [NAME] agreed."),
        ("Signed, M.D. Quixley came.", "Quixley", "Signed, M.D. [NAME] came."),
        ("3. QUIXLEY, Zara - 40", "Zara", "3. [NAME] - 40"),
        ("3. VAN QUIXLEY, Zara - 40", "QUIXLEY, Zara", "3. [NAME] - 40"),
        ("HISTORY, Zara agreed.", "Zara", "HISTORY, [NAME] agreed."),
    ],
)
def test_person_name_includes_initial_and_surname(text: str, found: str, expected: str) -> None:
    """An initial is part of a name; the C in hepatitis C is not."""
    assert after_widening(text, (found, "NAME")) == expected

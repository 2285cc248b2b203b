"""What the figures mean. Expected values come from another program with the same definitions, run once on these cases."""

from typing import Any

import pytest

from fine_tune_assets.core.proportions import wilson_interval
from fine_tune_assets.phi.measurement.recall import ALL, DIRECT, Measure, is_direct, measure, type_group
from fine_tune_assets.phi.spans.spans import Span

LETTER = "Dr. Anna Collins, born 03/14/1932, lives at 12 Elm Street. MRN 5583920, call 555-0142."
SITE = "Seen at Mercy Clinic by Ng."


def _at(text: str, value: str, label: str) -> dict[str, Any]:
    start = text.index(value)
    return {"start": start, "end": start + len(value), "label": label}


def _document(text: str, *labelled: tuple[str, str]) -> dict[str, Any]:
    return {"text": text, "spans": [_at(text, value, label) for value, label in labelled]}


def _found(text: str, *labelled: tuple[str, str]) -> list[Span]:
    return [Span(s["start"], s["end"], s["label"], "r", 1.0) for s in _document(text, *labelled)["spans"]]


DOCUMENTS = [
    _document(
        LETTER,
        ("Anna Collins", "NAME"),
        ("03/14/1932", "DATE"),
        ("12 Elm Street", "ADDRESS"),
        ("5583920", "MEDICAL_RECORD_NUMBER"),
        ("555-0142", "PHONE_NUMBER"),
    ),
    _document(SITE, ("Mercy Clinic", "HOSPITAL"), ("Ng", "DOCTOR")),
    _document("No pain in May."),
    _document("Take 5 mg daily."),
]
FOUND = [
    _found(
        LETTER,
        ("Anna", "NAME"),
        ("Collins", "NAME"),
        ("03/14/1932", "DATE"),
        ("lives at 12 Elm", "LOCATION"),
        ("MRN 5583920", "MRN"),
        ("555-0142", "FAX"),
    ),
    _found(SITE, ("Mercy Clinic", "LOCATION")),
    _found("No pain in May.", ("May", "DATE")),
    [],
]


def _figures(measures: list[Measure]) -> dict[tuple[str, str], float]:
    return {(m.name, m.label): m.value for m in measures}


def test_the_figures_are_those_of_the_other_program() -> None:
    """Two names in a row are one that is gone; a place stands for a care site; half an address is none."""
    figures = _figures(measure(DOCUMENTS, FOUND))
    assert figures == pytest.approx(
        {
            ("masked_recall", ALL): 0.7142857142857143,
            ("masked_recall", DIRECT): 3 / 5,
            **{("masked_recall", label): 1.0 for label in ("NAME", "DATE", "MEDICAL_RECORD_NUMBER", "PHONE_NUMBER")},
            ("masked_recall", "HOSPITAL"): 1.0,
            ("masked_recall", "ADDRESS"): 0.0,
            ("masked_recall", "DOCTOR"): 0.0,
            ("strict_recall", ALL): 0.42857142857142855,
            ("strict_precision", ALL): 0.375,
            ("strict_f1", ALL): 0.4,
            ("relaxed_recall", ALL): 0.8571428571428571,
            ("relaxed_precision", ALL): 0.875,
            ("relaxed_f1", ALL): 0.8659793814432989,
            ("documents_without_leak", ALL): 0.0,
            ("clean_documents_hit", ALL): 0.5,
            ("other_tokens_masked", ALL): 0.23529411764705882,
        },
        abs=1e-12,
    )


def test_every_share_has_its_counts_and_its_interval() -> None:
    """Five of seven and 500 of 700 are not the same figure."""
    (whole,) = [m for m in measure(DOCUMENTS, FOUND) if (m.name, m.label) == ("masked_recall", ALL)]
    assert (whole.hits, whole.total) == (5, 7)
    assert (whole.low, whole.high) == pytest.approx((0.35893, 0.91778), abs=1e-5)
    (f1,) = [m for m in measure(DOCUMENTS, FOUND) if m.name == "strict_f1"]
    assert (f1.hits, f1.total, f1.low, f1.high) == (None, None, None, None)


@pytest.mark.parametrize(
    ("spans", "expected"), [([(0, 12)], 1), ([(0, 4), (5, 12)], 1), ([(0, 4)], 0), ([(0, 11)], 0), ([], 0)]
)
def test_an_identifier_counts_only_when_every_character_is_gone(spans: list[tuple[int, int]], expected: int) -> None:
    """Half a name in the training data is a leak."""
    found = [Span(start, end, "DATE", "r", 1.0) for start, end in spans]
    figures = _figures(measure([_document("Anna Collins", ("Anna Collins", "NAME"))], [found]))
    assert figures["masked_recall", ALL] == figures["documents_without_leak", ALL] == expected


def test_a_set_in_which_only_some_kinds_are_labelled_measures_recall_only() -> None:
    """What else was removed may well be an identifier that nobody labelled: it is no mistake."""
    documents = [{**document, "labels": ["NAME"]} for document in DOCUMENTS]
    assert {m.name for m in measure(documents, FOUND)} == {"masked_recall", "documents_without_leak"}


@pytest.mark.parametrize(
    "label", ["NAME", "Doctor", "MRN", "FAX", "EMAIL", "US_SSN", "STREET_ADDRESS", "VEHICLE", "new"]
)
def test_what_tells_by_itself_who_somebody_is_counts_as_direct(label: str) -> None:
    """A label that is not known is taken for a number of some kind: the stricter floor holds for it."""
    assert is_direct(label)


@pytest.mark.parametrize("label", ["DATE", "AGE", "CITY", "ZIP_CODE", "HOSPITAL", "URL", "IP_ADDRESS"])
def test_what_needs_other_knowledge_does_not(label: str) -> None:
    assert not is_direct(label)
    assert type_group(label) != "ID"


def test_the_interval_is_right_at_the_ends() -> None:
    """Values from Wilson's formula: 10 of 10 leaves room for a recall of 0.72."""
    assert wilson_interval(10, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)
    assert wilson_interval(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)


def test_findings_of_other_documents_are_refused() -> None:
    """A document without findings must be told as one: figures of shifted documents would look plausible."""
    with pytest.raises(ValueError, match="shorter"):
        measure(DOCUMENTS, FOUND[:-1])

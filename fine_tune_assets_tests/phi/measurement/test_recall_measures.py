"""Definitions of the measures. Expected values come from another program with the same definitions, run once on these cases."""

from dataclasses import replace

import pytest

from fine_tune_assets.core.proportions import wilson_interval
from fine_tune_assets.phi.measurement.recall import (
    ALL,
    DIRECT,
    GoldDocument,
    Measure,
    group_label,
    is_direct,
    measure_documents,
)
from fine_tune_assets.phi.spans.spans import Span

LETTER = "Dr. Anna Collins, born 03/14/1932, lives at 12 Elm Street. MRN 5583920, call 555-0142."
SITE = "Seen at Mercy Clinic by Ng."


def _found(text: str, *labelled: tuple[str, str]) -> list[Span]:
    places = ((text.index(value), len(value), label) for value, label in labelled)
    return [Span(start, start + length, label, "r", 1.0) for start, length, label in places]


def _document(text: str, *labelled: tuple[str, str]) -> GoldDocument:
    return GoldDocument(text, tuple(_found(text, *labelled)))


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


def test_measures_match_the_reference_program() -> None:
    """Two adjacent masked names, a place that counts as a facility, and half an address that counts as missed."""
    figures = _figures(measure_documents(DOCUMENTS, FOUND))
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
            ("documents_fully_masked", ALL): 0.0,
            ("clean_documents_masked", ALL): 0.5,
            ("non_phi_tokens_masked", ALL): 0.23529411764705882,
        },
        abs=1e-12,
    )


def test_every_proportion_has_counts_and_an_interval() -> None:
    """Five of seven and 500 of 700 are different evidence."""
    (small,) = [m for m in measure_documents(DOCUMENTS, FOUND) if (m.name, m.label) == ("masked_recall", ALL)]
    assert (small.hits, small.total) == (5, 7)
    assert (small.low, small.high) == pytest.approx((0.35893, 0.91778), abs=1e-5)
    (f1,) = [m for m in measure_documents(DOCUMENTS, FOUND) if m.name == "strict_f1"]
    assert (f1.hits, f1.total, f1.low, f1.high) == (None, None, None, None)


@pytest.mark.parametrize(
    ("spans", "expected"), [([(0, 12)], 1), ([(0, 4), (5, 12)], 1), ([(0, 4)], 0), ([(0, 11)], 0), ([], 0)]
)
def test_identifier_counts_only_if_every_character_is_masked(spans: list[tuple[int, int]], expected: int) -> None:
    """Half a name in the training data is a leak."""
    found = [Span(start, end, "DATE", "r", 1.0) for start, end in spans]
    figures = _figures(measure_documents([_document("Anna Collins", ("Anna Collins", "NAME"))], [found]))
    assert figures["masked_recall", ALL] == figures["documents_fully_masked", ALL] == expected


def test_partly_labelled_set_measures_only_recall() -> None:
    """Other removed text may well be an unlabelled identifier, so it is not an error."""
    documents = [replace(document, is_whole=False) for document in DOCUMENTS]
    assert {m.name for m in measure_documents(documents, FOUND)} == {"masked_recall", "documents_fully_masked"}


@pytest.mark.parametrize(
    "label", ["NAME", "Doctor", "MRN", "FAX", "EMAIL", "US_SSN", "STREET_ADDRESS", "VEHICLE", "new"]
)
def test_label_of_a_direct_identifier_is_direct(label: str) -> None:
    """An unknown label counts as an identifying number, so the stricter floor applies."""
    assert is_direct(label)


@pytest.mark.parametrize("label", ["DATE", "AGE", "CITY", "ZIP_CODE", "HOSPITAL", "URL", "IP_ADDRESS"])
def test_label_of_an_indirect_identifier_is_not_direct(label: str) -> None:
    assert not is_direct(label)
    assert group_label(label) != "ID"


def test_interval_is_correct_at_the_ends() -> None:
    """Values from Wilson's formula: 10 of 10 leaves room for a recall of 0.72."""
    assert wilson_interval(10, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)
    assert wilson_interval(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)


def test_missing_findings_of_a_document_are_rejected() -> None:
    """Documents without findings need an empty entry: measures of shifted documents would look plausible."""
    with pytest.raises(ValueError):
        measure_documents(DOCUMENTS, FOUND[:-1])

"""Ordinary words among the findings: listed with their number, and never a name."""

from typing import Any

import pyarrow as pa
import pytest

from fine_tune_assets.defs.s02_scrubbed_reports.scrubbed_reports import describe_replaced_words
from fine_tune_assets.phi.measurement.replaced_words import count_replaced_words, load_ordinary_words
from fine_tune_assets.phi.recognizers.tagged_spans import RULE as TAGGER_RULE
from fine_tune_assets.phi.spans.spans import KNOWN_RULE
from fine_tune_assets.tables.report_rows import Report
from fine_tune_assets.tables.scrubbing_rows import PhiSpan


def _span(text: str, value: str, label: str = "NAME", recognizer: str = TAGGER_RULE) -> dict[str, Any]:
    start = text.index(value)
    end = start + len(value)
    return {"report_id": "r", "start": start, "end": end, "label": label, "recognizer": recognizer, "score": 0.6}


@pytest.mark.parametrize(
    ("text", "value", "words"),
    [
        ("The windows were shut.", "windows", {"windows": 1}),
        ("Photographs of the gable and windows.", "gable and windows", {"gable": 1, "windows": 1}),
        ("Peak load 24 A. It held.", "A.", {"A": 1}),
        ("a cable of 6 mm was", "mm", {"mm": 1}),
    ],
)
def test_ordinary_words_and_units_are_listed(text: str, value: str, words: dict[str, int]) -> None:
    """They became surnames in training texts without a warning."""
    texts = {"r": text, "kept": "windows, gable, mm, windows, gable and mm"}
    assert count_replaced_words(texts, [_span(text, value)]) == (words, frozenset({"r"}))


def test_a_name_in_a_transcript_without_capitals_is_not_listed() -> None:
    """`smith` is in the tagger's vocabulary and in no list of names; the scrubber replaces it in most places."""
    text = "so mr smith said the windows were shut"
    texts = {"r": text, "second": "then smith left", "third": "the windows and windows"}
    assert "smith" in load_ordinary_words()
    counts, _ = count_replaced_words(texts, [_span(text, "smith"), _span(text, "windows")])
    assert counts == {"windows": 1}


@pytest.mark.parametrize(
    ("text", "value", "label", "recognizer"),
    [
        ("he said smith was there, and Ann Smith agreed", "smith", "NAME", TAGGER_RULE),  # a name elsewhere
        ("mr garcia called", "garcia", "NAME", TAGGER_RULE),
        ("We met Winter there", "Winter", "NAME", TAGGER_RULE),
        ("the windows were shut", "windows", "NAME", KNOWN_RULE),  # stated by the metadata
        ("call 24 hours", "hours", "PHONE", TAGGER_RULE),
        ("in room 3 Li waited", "Li", "NAME", TAGGER_RULE),
        ("in room 3 li waited", "li", "NAME", TAGGER_RULE),
        ("room 24 A. Vandermeer", "A. Vandermeer", "NAME", TAGGER_RULE),
    ],
)
def test_names_are_never_listed(text: str, value: str, label: str, recognizer: str) -> None:
    """The words go into Dagster's metadata, which holds no identifier."""
    assert count_replaced_words({"r": text}, [_span(text, value, label, recognizer)]) == ({}, frozenset())


def test_the_words_are_many_and_contain_no_known_name() -> None:
    words = load_ordinary_words()
    assert len(words) > 15_000
    assert not words & {"garcia", "nguyen", "john", "maria", "winter"}


def test_the_check_warns_with_the_words() -> None:
    text = "The windows were shut."
    report = dict.fromkeys(Report.SCHEMA.names) | {"report_id": "r", "text": text}
    kept = report | {"report_id": "kept", "text": "Two windows, windows"}
    reports = pa.Table.from_pylist([report, kept], Report.SCHEMA)
    spans = pa.Table.from_pylist([_span(text, "windows")], PhiSpan.SCHEMA)
    warned = describe_replaced_words(reports, spans)
    assert warned.passed is False
    assert warned.metadata["reason"].value == "Ordinary words or units were replaced in 1 reports: windows 1."
    assert describe_replaced_words(reports, spans.slice(0, 0)).passed

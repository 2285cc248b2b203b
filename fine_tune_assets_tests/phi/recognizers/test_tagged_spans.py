"""From word probabilities to spans: half an identifier is a leak."""

import re

import pytest

from fine_tune_assets.phi.recognizers.tagged_spans import decode_spans
from fine_tune_assets.phi.tagger.prediction import TaggedWord


def _decoded(text: str, threshold: float = 0.5, **labels: str) -> list[tuple[str, str]]:
    """Words named in `labels` (with `_` for other characters) have probability 0.9, all others 0.1."""
    words = [
        TaggedWord(m.start(), m.end(), labels.get(m[0], "NAME"), 0.9 if m[0] in labels else 0.1)
        for m in re.finditer(r"\w+|[^\w\s]", text)
    ]
    return [(text[s.start : s.end], s.label) for s in decode_spans(text, words, threshold)]


def test_neighbours_with_one_label_are_joined() -> None:
    assert _decoded("Saw Anna Collins today.", Anna="NAME", Collins="NAME") == [("Anna Collins", "NAME")]
    assert _decoded("Collins, Anna came.", Collins="NAME", Anna="NAME") == [("Collins, Anna", "NAME")]


def test_neighbours_with_different_labels_stay_separate() -> None:
    assert _decoded("Anna Boston", Anna="NAME", Boston="LOCATION") == [("Anna", "NAME"), ("Boston", "LOCATION")]


def test_two_spaces_separate_form_columns() -> None:
    """Otherwise a name would include the next field: "Anna Collins    Sex: F". A line break may be part of an address."""
    assert _decoded("Anna Collins  Sex: F", Anna="NAME", Collins="NAME", Sex="NAME") == [
        ("Anna Collins", "NAME"),
        ("Sex", "NAME"),
    ]
    assert _decoded("Anna\nCollins", Anna="NAME", Collins="NAME") == [("Anna\nCollins", "NAME")]


@pytest.mark.parametrize(
    ("text", "labels", "expected"),
    [
        ("MRN AB-5583920-7 is", {"5583920": "MRN"}, "AB-5583920-7"),
        ("at j.doe@example.org now", {"doe": "EMAIL"}, "j.doe@example.org"),
        ("Smith-Jones came", {"Jones": "NAME"}, "Smith-Jones"),
        ("O'Brien came", {"Brien": "NAME"}, "O'Brien"),
        ("call 555-0142.", {"555": "PHONE"}, "555-0142"),
    ],
)
def test_span_never_ends_inside_an_identifier(text: str, labels: dict[str, str], expected: str) -> None:
    """The rest of a number is enough to find the patient."""
    ((found, _),) = _decoded(text, **labels)
    assert found == expected


def test_age_is_not_widened() -> None:
    """The text after an age is clinical content: "-year-old"."""
    assert _decoded("a 93-year-old man", **{"93": "AGE"}) == [("93", "AGE")]


def test_words_below_the_threshold_are_ignored() -> None:
    assert _decoded("Saw Anna.", 0.95, Anna="NAME") == []
    assert len(_decoded("Saw Anna.", 0.05, Anna="NAME")) == 1


def test_punctuation_alone_is_not_an_identifier() -> None:
    assert _decoded("Well , yes", **{",": "NAME"}) == []


def test_no_words_give_no_spans() -> None:
    assert list(decode_spans("", [], 0.5)) == []

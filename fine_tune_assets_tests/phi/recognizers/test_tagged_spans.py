"""From words with probabilities to spans: half an identifier is a leak."""

import re

import pytest

from fine_tune_assets.phi.recognizers.tagged_spans import spans_of_words
from fine_tune_assets.phi.tagger.prediction import TaggedWord


def _decoded(text: str, threshold: float = 0.5, **labels: str) -> list[tuple[str, str]]:
    """Words named in `labels` (`_` for what is no letter) have probability 0.9, all others 0.1."""
    words = [
        TaggedWord(m.start(), m.end(), labels.get(m[0], "NAME"), 0.9 if m[0] in labels else 0.1)
        for m in re.finditer(r"\w+|[^\w\s]", text)
    ]
    return [(text[s.start : s.end], s.label) for s in spans_of_words(text, words, threshold)]


def test_neighbours_of_one_label_are_one_identifier() -> None:
    assert _decoded("Saw Anna Collins today.", Anna="NAME", Collins="NAME") == [("Anna Collins", "NAME")]
    assert _decoded("Collins, Anna came.", Collins="NAME", Anna="NAME") == [("Collins, Anna", "NAME")]


def test_neighbours_of_different_labels_stay_apart() -> None:
    assert _decoded("Anna Boston", Anna="NAME", Boston="LOCATION") == [("Anna", "NAME"), ("Boston", "LOCATION")]


def test_two_spaces_part_the_columns_of_a_form() -> None:
    """A name takes the field behind it along otherwise: "Anna Collins    Sex: F". A line end may stand in an address."""
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
def test_a_span_never_ends_inside_an_identifier(text: str, labels: dict[str, str], expected: str) -> None:
    """The rest of a number is enough to find the patient by."""
    ((found, _),) = _decoded(text, **labels)
    assert found == expected


def test_an_age_is_not_widened() -> None:
    """What is beside it is what the note is about: "-year-old"."""
    assert _decoded("a 93-year-old man", **{"93": "AGE"}) == [("93", "AGE")]


def test_words_below_the_threshold_are_none() -> None:
    assert _decoded("Saw Anna.", 0.95, Anna="NAME") == []
    assert len(_decoded("Saw Anna.", 0.05, Anna="NAME")) == 1


def test_punctuation_alone_is_no_identifier() -> None:
    assert _decoded("Well , yes", **{",": "NAME"}) == []


def test_no_words_give_no_spans() -> None:
    assert list(spans_of_words("", [], 0.5)) == []

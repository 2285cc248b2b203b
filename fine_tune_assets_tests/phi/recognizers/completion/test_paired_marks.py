"""Brackets and quotation marks of an identifier are removed with it; those around it stay."""

import pytest

from fine_tune_assets_tests.phi.recognizers.completion.completed_text import complete

N, L = "NAME", "LOCATION"


@pytest.mark.parametrize(
    ("text", "found", "expected"),
    [
        ("at 8 Elm Row, Pamplona (Navarra), today", [("8 Elm Row, Pamplona (Navarra", L)], "at [LOCATION], today"),
        ("Blk 482 Pasir Ris #09-317 S(510482)", [("Blk 482 Pasir Ris #09-317 S(510482", L)], "[LOCATION]"),
        ('to "Bundilla", 1177 Elm Road', [('Bundilla", 1177 Elm Road', L)], "to [LOCATION]"),
        ("to “Sandlapper”, 12 Elm Road", [("Sandlapper”, 12 Elm Road", L)], "to [LOCATION]"),
        ('of "Banksia Court", 12 Elm Road', [("12 Elm Road", L)], "of [LOCATION]"),
        ('from "Wirrabilla", 2290 Elm Road', [("Wirrabilla", N), ("2290 Elm Road", L)], "from [LOCATION]"),
        ("Bernie (Bernadette) called", [("Bernie (Bernadette", N)], "[NAME] called"),
    ],
)
def test_both_marks_are_part_of_the_identifier(text: str, found: list[tuple[str, str]], expected: str) -> None:
    """Half a pair would stay in the training text."""
    assert complete(text, *found) == expected


@pytest.mark.parametrize(
    ("text", "found", "expected"),
    [
        ("‘O’Penrose’ is the name", [("O’Penrose", N)], "‘[NAME]’ is the name"),
        ("a visit (8 Elm Row) today", [("8 Elm Row", L)], "a visit ([LOCATION]) today"),
        ('the word "Penrose" fell', [("Penrose", N)], 'the word "[NAME]" fell'),
        ("Penrose (the tenant) left", [("Penrose", N)], "[NAME] (the tenant) left"),
        ("Penrose (Quixley's widow) left", [("Penrose", N), ("Quixley", N)], "[NAME] ([NAME]'s widow) left"),
        ('he said "no", 12 Elm Road is sold', [("12 Elm Road", L)], 'he said "no", [LOCATION] is sold'),
    ],
)
def test_marks_around_an_identifier_stay(text: str, found: list[tuple[str, str]], expected: str) -> None:
    assert complete(text, *found) == expected

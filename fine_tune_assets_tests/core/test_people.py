"""One person's name, however a keyboard, a browser or another system writes it."""

import pytest

from fine_tune_assets.core.people import is_same_person


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Ward-Key  A", " ward-key a "),
        ("Zo\u00eb", "ZOE\u0308"),
        ("Rene\u0301", "REN\u00c9"),
        ("Stra\u00dfer", "STRASSER"),
        ("\uff21nn", "Ann"),
        ("Ann\u00a0Lee", "Ann Lee"),
        ("Ann\u200b Lee", "Ann Lee"),
    ],
)
def test_the_same_name_in_another_spelling_is_the_same_person(one: str, other: str) -> None:
    """Else the author of a correction approves it under the other spelling."""
    assert is_same_person(one, other)


@pytest.mark.parametrize(("one", "other"), [("Ann", "Anna"), ("Zo\u00eb", "Zoe"), ("Ann Lee", "AnnLee")])
def test_another_name_is_another_person(one: str, other: str) -> None:
    """An accent is a letter of its own."""
    assert not is_same_person(one, other)

"""Names of people are compared independently of keyboard, browser and system."""

import unicodedata

import pytest

from fine_tune_assets.core.people import find_look_alike, has_mixed_scripts, is_same_person


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
        ("Ann\ufe0f", "Ann"),
        ("A\u034fnn", "Ann"),
        ("Ann\u3164", "Ann"),
        ("\u2800Ann", "Ann"),
        ("\u0410nn", "Ann"),
        ("Nina0", "NinaO"),
        ("Ian", "lan"),
        ("User 1", "User l"),
        ("Marn", "Mam"),
        ("O\u2019Neil", "O'Neil"),
        ("\u0418\u0432\u0430\u043d", "\u0418\u0412\u0410\u041d"),
        ("\u039d\u03af\u03ba\u03bf\u03c2", "\u039d\u038a\u039a\u039f\u03a3"),
    ],
)
def test_the_same_name_in_another_spelling_is_the_same_person(one: str, other: str) -> None:
    """Otherwise the author of a correction could approve it under another spelling."""
    assert is_same_person(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Ann", "Anna"),
        ("Zo\u00eb", "Zoe"),
        ("Ann Lee", "AnnLee"),
        ("Peter 2", "Peter 3"),
        ("Anna", "\u0410\u043d\u043d\u0430 K"),
    ],
)
def test_another_name_is_another_person(one: str, other: str) -> None:
    """Accents distinguish names."""
    assert not is_same_person(one, other)


def test_case_makes_no_difference_in_any_script() -> None:
    """A capital letter can look like another letter than its small form."""
    cased = [c for c in map(chr, range(0x110000)) if unicodedata.category(c) == "Lu"]
    assert [c for c in cased if not is_same_person(f"x{c}y", f"x{c.lower()}y")] == []


@pytest.mark.parametrize("name", ["\u0410nn", "P\u0430ul", "\u03a9mega", "Ann P\u0435ter"])
def test_a_word_of_several_scripts_is_found(name: str) -> None:
    """Real names are not written so; a forged one may be."""
    assert has_mixed_scripts(name)


@pytest.mark.parametrize(
    "name",
    [
        "Ann", "Zo\u00eb", "\u0410\u043d\u043d\u0430 Smith", "\u5c71\u7530\u3086\u304d", "\u4f50\u3005\u6728",
        "Ka\u02bbahumanu", "Ward 3-B",
    ],
)  # fmt: skip
def test_names_of_one_script_a_word_are_accepted(name: str) -> None:
    """A Russian first name and an English surname are two words."""
    assert not has_mixed_scripts(name)


def test_a_look_alike_is_named() -> None:
    """A new user must not look like another."""
    assert find_look_alike("AIice", ["Bob", "Alice"]) == "Alice"
    assert find_look_alike("Carol", ["Bob", "Alice"]) is None

"""The names that surrogates are drawn from, and the given names that are recognised.

Owns the pools and, for when a corpus holds all of a pool, how a name is composed. Does not know whom a name stands for.
The files in `reference/` are made by fine_tune_assets_tests/phi/build_name_pools.py; no name in them is an English or clinical
word, a place or an eponym.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

from fine_tune_assets.phi.replacement.keyed_draws import Draws, pick

FOLDER = Path(__file__).parents[1] / "reference"
INITIALS = "ABCDEFGHJKLMNPRSTV"
"""Initials that surrogates have: of each there are dozens of surnames and of given names."""
_DRAWS_PER_POOL = 60
"""After as many taken ones the next pool is tried: of a pool that is half taken, the chance to get here is 2**-60."""

_VOWELS = ("a", "e", "i", "o", "ai", "ei")
_MIDDLES = ("dr", "lr", "lv", "md", "nv", "rd", "rl", "rm", "rv", "sk", "st", "sv", "th", "zr", "v", "z")
_LINKS = ("a", "e", "o")
_ENDINGS = {
    "f": ("lisse", "nelle", "dorah", "wyna", "rissa"),
    "m": ("bric", "nard", "mond", "vald", "wulf"),
    "u": ("wyn", "rien", "remy", "lior"),
}
_SURNAME_MIDDLES = ("er", "en", "ing", "el", "am", "or")
_SURNAME_ENDINGS = (
    "quist", "wick", "hurst", "combe", "stad", "haug", "mann", "sley", "thorpe", "gard", "bourne", "vik",
)  # fmt: skip


def surnames(draw: Draws, initial: str) -> Iterator[str]:
    """Surnames with that initial in the order of the draws; after the known ones, composed ones without end."""
    for _ in range(_DRAWS_PER_POOL):
        yield pick(draw, surname_pool()[initial])
    while True:
        onset = initial + pick(draw, _VOWELS) + pick(draw, _MIDDLES)
        yield onset + pick(draw, _SURNAME_MIDDLES) + pick(draw, _SURNAME_ENDINGS)


def given_names(draw: Draws, initial: str, gender: str) -> Iterator[str]:
    """Given names of that gender, f, m or u (of both); after the known ones, composed ones without end."""
    for pool in (gender, "f", "m") if gender == "u" else (gender,):
        names = given_name_pool().get((pool, initial), ())
        for _ in range(_DRAWS_PER_POOL if names else 0):
            yield pick(draw, names)
    while True:
        yield initial + pick(draw, _VOWELS) + pick(draw, _MIDDLES) + pick(draw, _LINKS) + pick(draw, _ENDINGS[gender])


def draw_initial(draw: Draws, instead_of: str) -> str:
    """An initial as frequent as it is among the surnames, and another one than the original."""
    names = surname_list()
    while True:
        initial = pick(draw, names)[0]
        if initial != instead_of.upper():
            return initial


@cache
def surname_list() -> tuple[str, ...]:
    return tuple(_lines("surnames.txt"))


@cache
def surname_pool() -> dict[str, tuple[str, ...]]:
    """Initial → surnames."""
    return {i: tuple(n for n in surname_list() if n[0] == i) for i in INITIALS}


@cache
def given_name_pool() -> dict[tuple[str, str], tuple[str, ...]]:
    """Gender and initial → given names."""
    pool: dict[tuple[str, str], list[str]] = {}
    for line in _lines("given_names.txt"):
        gender, name = line.split()
        pool.setdefault((gender, name[0]), []).append(name)
    return {key: tuple(names) for key, names in pool.items()}


@cache
def known_given_names() -> dict[str, str]:
    """Normalised given name → f, m or u."""
    return {name: gender for gender, name in map(str.split, _lines("known_given_names.txt"))}


def _lines(name: str) -> list[str]:
    return (FOLDER / name).read_text(encoding="utf-8").splitlines()

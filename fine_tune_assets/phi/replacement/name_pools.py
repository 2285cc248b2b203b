"""The names from which surrogates are drawn, and the given names that are recognized.

When a corpus contains a whole pool, names are composed from syllables. `fine_tune_assets_tests/phi/build_name_pools.py` writes
the files in `reference/`, which contain no English or clinical words, places or eponyms.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

from fine_tune_assets.phi.replacement.keyed_draws import Draw, pick
from fine_tune_assets.phi.spans.folded_text import fold

REFERENCE_DIR = Path(__file__).parents[1] / "reference"
INITIALS = "ABCDEFGHJKLMNPRSTV"
"""Initials of surrogates: each has dozens of surnames and given names."""
_DRAWS_PER_POOL = 60
"""Candidates per pool before the next one is tried. If half of a pool is taken, that happens with probability 2**-60."""

_VOWELS = ("a", "e", "i", "o", "ai", "ei")
_MIDDLES = ("dr", "lr", "lv", "md", "nv", "rd", "rl", "rm", "rv", "sk", "st", "sv", "th", "zr", "v", "z")
_LINKING_VOWELS = ("a", "e", "o")
_ENDINGS = {
    "f": ("lisse", "nelle", "dorah", "wyna", "rissa"),
    "m": ("bric", "nard", "mond", "vald", "wulf"),
    "u": ("wyn", "rien", "remy", "lior"),
}
_SURNAME_MIDDLES = ("er", "en", "ing", "el", "am", "or")
_SURNAME_ENDINGS = (
    "quist", "wick", "hurst", "combe", "stad", "haug", "mann", "sley", "thorpe", "gard", "bourne", "vik",
)  # fmt: skip


def draw_surnames(draw: Draw, initial: str) -> Iterator[str]:
    """Surnames with that initial, in keyed order; composed names follow the known ones, without end."""
    for _ in range(_DRAWS_PER_POOL):
        yield pick(draw, load_surnames_by_initial()[initial])
    while True:
        onset = initial + pick(draw, _VOWELS) + pick(draw, _MIDDLES)
        yield onset + pick(draw, _SURNAME_MIDDLES) + pick(draw, _SURNAME_ENDINGS)


def draw_given_names(draw: Draw, initial: str, gender: str) -> Iterator[str]:
    """Given names of that gender (f, m, or u for both); composed names follow the known ones, without end."""
    for pool in (gender, "f", "m") if gender == "u" else (gender,):
        names = load_given_names().get((pool, initial), ())
        for _ in range(_DRAWS_PER_POOL if names else 0):
            yield pick(draw, names)
    while True:
        yield (
            initial
            + pick(draw, _VOWELS)
            + pick(draw, _MIDDLES)
            + pick(draw, _LINKING_VOWELS)
            + pick(draw, _ENDINGS[gender])
        )


def draw_initial(draw: Draw, original: str) -> str:
    """An initial distributed as among the surnames, but different from the original."""
    names = load_surnames()
    while True:
        initial = pick(draw, names)[0]
        if initial != original.upper():
            return initial


@cache
def load_surnames() -> tuple[str, ...]:
    return tuple(_read_lines("surnames.txt"))


@cache
def fold_surnames() -> frozenset[str]:
    """Surnames in small letters without accents."""
    return frozenset(fold(name).lower() for name in load_surnames())


@cache
def load_surnames_by_initial() -> dict[str, tuple[str, ...]]:
    """Initial → surnames."""
    return {i: tuple(n for n in load_surnames() if n[0] == i) for i in INITIALS}


@cache
def load_given_names() -> dict[tuple[str, str], tuple[str, ...]]:
    """Gender and initial → given names."""
    pool: dict[tuple[str, str], list[str]] = {}
    for line in _read_lines("given_names.txt"):
        gender, name = line.split()
        pool.setdefault((gender, name[0]), []).append(name)
    return {key: tuple(names) for key, names in pool.items()}


@cache
def load_known_given_names() -> dict[str, str]:
    """Normalized given name → f, m or u."""
    return {name: gender for gender, name in map(str.split, _read_lines("known_given_names.txt"))}


def _read_lines(name: str) -> list[str]:
    return (REFERENCE_DIR / name).read_text(encoding="utf-8").splitlines()

"""Turns the name of a person into another name of the same form.

Owns how a name is taken apart: titles, initials, hyphens, possessives. Each part is mapped by itself, so a surname alone
agrees with the whole name, in whatever order it is written. Does not know where in a text a name stands.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from fine_tune_assets.phi.replacement import name_pools
from fine_tune_assets.phi.replacement.keyed_draws import IsTaken, KeyedSource, first_free, normalise, pick
from fine_tune_assets.phi.spans.word_lists import (
    SHORT_NAMES,
    SURROGATE_CREDENTIALS,
    SURROGATE_PARTICLES,
    SURROGATE_TITLES,
)

_SUFFIXES = frozenset({"jr", "sr", "ii", "iii", "iv", "esq"})
_JOINING_WORDS = frozenset({"and", "or", "aka", "nee", "y"})

_DOTTED = r"(?:[^\W\d_]\.){1,3}[^\W\d_]\b\.?"
_WORD = r"(?:[^\W\d_][\u0300-\u036f]*)+(?:['’ʼ‘](?![sSʼ’']\b)(?:[^\W\d_][\u0300-\u036f]*)+)*"
_POSSESSIVE = r"(?<=[^\W\d_]['’ʼ‘])[sS](?!\w)"
_TOKEN = re.compile(rf"(?P<possessive>{_POSSESSIVE})|(?P<dotted>{_DOTTED})|(?P<word>{_WORD})|(?P<digit>\d)")
_ORDINAL = re.compile(r"\d+(?:st|nd|rd|th)\b", re.IGNORECASE)


@dataclass(frozen=True)
class NameMap:
    """The names of one patient's texts. What it gives depends on the key, the patient and the part, on nothing else."""

    source: KeyedSource
    is_taken: IsTaken

    def part(self, part: str) -> str:
        """The surrogate of a given name or a surname, capitalised."""
        plain = normalise(part)
        gender = name_pools.known_given_names().get(plain)
        draw = self.source.draws("name", plain)
        initial = self.initial(plain[:1])
        candidates = name_pools.given_names(draw, initial, gender) if gender else name_pools.surnames(draw, initial)
        return first_free("NAME", candidates, lambda name: self.is_taken(normalise(name)))

    def initial(self, letter: str) -> str:
        """The initial that every name with this one gets, so that "J. S." agrees with "John Smith"."""
        return name_pools.draw_initial(self.source.draws("initial", normalise(letter)[:1]), normalise(letter)[:1])

    def digit(self, digit: str) -> str:
        others = [d for d in "0123456789" if d != digit]
        return pick(self.source.draws("digit in name", digit), others)


@dataclass(frozen=True)
class _Part:
    """A piece of a name's text; `kind` is kept, particle, initials, digit or name."""

    start: int
    end: int
    text: str
    kind: str


def replace_name(text: str, names: NameMap, used: Callable[[str], None]) -> str:
    """The same form with other names; `used` hears each surrogate part."""
    pieces: list[str] = []
    at = 0
    parts = _parts(text)
    for number, part in enumerate(parts):
        following = parts[number + 1] if number + 1 < len(parts) else None
        pieces.append(text[at : part.start])
        at = part.end
        is_joined = following is not None and not text[part.end : following.start].strip(" \t\xa0-'’ʼ‘")
        if part.kind == "particle" and following and is_joined and following.kind in {"particle", "name"}:
            # A particle goes with the name: "van der" narrows down who it is.
            at = following.start
        else:
            pieces.append(_surrogate(part, names, used))
    return "".join([*pieces, text[at:]])


def _parts(text: str) -> list[_Part]:
    ordinals = [m.span() for m in _ORDINAL.finditer(text)]
    is_all_capitals = text == text.upper()
    parts: list[_Part] = []
    for token in _TOKEN.finditer(text):
        start, word, form = token.start(), token[0], token.lastgroup
        if form == "possessive" or any(begin <= start < stop for begin, stop in ordinals):
            continue
        has_name_before = any(p.kind == "name" for p in parts)
        has_comma_before = text[:start].rstrip().endswith(",")
        kind = "digit" if form == "digit" else _kind(word, has_name_before, has_comma_before, is_all_capitals)
        parts.append(_Part(start, token.end(), word, kind))
    has_names = any(p.kind in {"name", "initials"} for p in parts)
    return [p if has_names or p.kind != "particle" else _Part(p.start, p.end, p.text, "name") for p in parts]


def _kind(word: str, has_name_before: bool, has_comma_before: bool, is_all_capitals: bool) -> str:
    plain = normalise(word)
    if plain in SURROGATE_TITLES and not (has_name_before and is_all_capitals):
        return "kept"
    if has_name_before and plain in _SUFFIXES:
        return "kept"
    # In "YO-YO MA" it is a name, in "SMITH, MA" and "Smith MA" a degree.
    is_degree = plain in SURROGATE_CREDENTIALS and (word == word.upper() or len(plain) > 3)
    if has_name_before and is_degree and (has_comma_before or not is_all_capitals):
        return "kept"
    if plain in _JOINING_WORDS and word == word.lower() and len(plain) > 1:
        return "kept"
    if plain in SURROGATE_PARTICLES and plain not in SHORT_NAMES | {"al"}:
        return "particle"
    return "initials" if _are_initials(word, plain) else "name"


def _are_initials(word: str, plain: str) -> bool:
    if len(plain) <= 1 or "." in word:
        return plain.isascii()
    is_short = len(plain) <= 3 and word == word.upper() and word != word.lower()
    is_known = plain in SHORT_NAMES or plain in name_pools.known_given_names()
    return is_short and not is_known and (len(plain) == 2 or not set(plain) & set("aeiouy"))


def _surrogate(part: _Part, names: NameMap, used: Callable[[str], None]) -> str:
    if part.kind == "kept":
        return part.text
    if part.kind == "digit":
        return names.digit(part.text)
    if part.kind == "initials":
        return "".join(_like(c, names.initial(c)) if c.isalpha() else c for c in part.text)
    name = names.part(part.text)
    used(normalise(name))
    return like_case(part.text, name)


def _like(letter: str, initial: str) -> str:
    return initial.lower() if letter != letter.upper() else initial


def like_case(original: str, surrogate: str) -> str:
    """In capitals, in lower case, or capitalised as the surrogate is."""
    letters = [c for c in original if c.isalpha()]
    if len(letters) > 1 and original == original.upper() and original != original.lower():
        return surrogate.upper()
    if original == original.lower() and original != original.upper():
        return surrogate.lower()
    return surrogate

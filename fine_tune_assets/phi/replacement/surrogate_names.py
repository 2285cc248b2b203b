"""Replaces a person's name with another of the same form.

Each part is mapped separately, so a surname alone matches the full name in any order. Titles, initials, hyphens and possessives
are kept.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from fine_tune_assets.core.bounded_patterns import compile_bounded
from fine_tune_assets.phi.replacement import name_pools
from fine_tune_assets.phi.replacement.keyed_draws import IsTaken, KeyedSource, normalize, pick, pick_unused
from fine_tune_assets.phi.spans.identifier_words import (
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
_ORDINAL = compile_bounded(r"\d+(?:st|nd|rd|th)\b", re.IGNORECASE)


@dataclass(frozen=True)
class NameMap:
    """The names in one subject's texts. Each surrogate depends only on the key, the subject and the part."""

    source: KeyedSource
    is_taken: IsTaken

    def replace_part(self, part: str) -> str:
        """The surrogate of a given name or surname, capitalised."""
        plain = normalize(part)
        gender = name_pools.load_known_given_names().get(plain)
        draw = self.source.make_draw("name", plain)
        initial = self.replace_initial(plain[:1])
        candidates = (
            name_pools.draw_given_names(draw, initial, gender) if gender else name_pools.draw_surnames(draw, initial)
        )
        return pick_unused("NAME", candidates, lambda name: self.is_taken(normalize(name)))

    def replace_initial(self, letter: str) -> str:
        """The initial of every surrogate for names with this initial, so that "J. S." matches "John Smith"."""
        return name_pools.draw_initial(self.source.make_draw("initial", normalize(letter)[:1]), normalize(letter)[:1])

    def replace_digit(self, digit: str) -> str:
        others = [d for d in "0123456789" if d != digit]
        return pick(self.source.make_draw("digit in name", digit), others)


@dataclass(frozen=True)
class _NamePart:
    """A part of a name; `kind` is kept, particle, initials, digit or name."""

    start: int
    end: int
    text: str
    kind: str


def replace_name(text: str, names: NameMap, record_used: Callable[[str], None]) -> str:
    """Replace each part of a name, keeping its form; calls `record_used` with each surrogate part."""
    pieces: list[str] = []
    at = 0
    parts = _split_parts(text)
    for number, part in enumerate(parts):
        following = parts[number + 1] if number + 1 < len(parts) else None
        pieces.append(text[at : part.start])
        at = part.end
        is_joined = following is not None and not text[part.end : following.start].strip(" \t\xa0-'’ʼ‘")
        if part.kind == "particle" and following and is_joined and following.kind in {"particle", "name"}:
            # Particles are removed with the name: "van der" narrows down who it is.
            at = following.start
        else:
            pieces.append(_replace_part(part, names, record_used))
    return "".join([*pieces, text[at:]])


def _split_parts(text: str) -> list[_NamePart]:
    ordinals = [m.span() for m in _ORDINAL.finditer(text)]
    is_all_capitals = text == text.upper()
    parts: list[_NamePart] = []
    for token in _TOKEN.finditer(text):
        start, word, form = token.start(), token[0], token.lastgroup
        if form == "possessive" or any(begin <= start < stop for begin, stop in ordinals):
            continue
        has_name_before = any(p.kind == "name" for p in parts)
        has_comma_before = text[:start].rstrip().endswith(",")
        kind = "digit" if form == "digit" else _classify_word(word, has_name_before, has_comma_before, is_all_capitals)
        parts.append(_NamePart(start, token.end(), word, kind))
    has_names = any(p.kind in {"name", "initials"} for p in parts)
    return [p if has_names or p.kind != "particle" else _NamePart(p.start, p.end, p.text, "name") for p in parts]


def _classify_word(word: str, has_name_before: bool, has_comma_before: bool, is_all_capitals: bool) -> str:
    plain = normalize(word)
    if plain in SURROGATE_TITLES and not (has_name_before and is_all_capitals):
        return "kept"
    if has_name_before and plain in _SUFFIXES:
        return "kept"
    # In "YO-YO MA" it is a name; in "SMITH, MA" and "Smith MA" it is a degree.
    is_degree = plain in SURROGATE_CREDENTIALS and (word == word.upper() or len(plain) > 3)
    if has_name_before and is_degree and (has_comma_before or not is_all_capitals):
        return "kept"
    if plain in _JOINING_WORDS and word == word.lower() and len(plain) > 1:
        return "kept"
    if plain in SURROGATE_PARTICLES and plain not in SHORT_NAMES | {"al"}:
        return "particle"
    return "initials" if _is_initials(word, plain) else "name"


def _is_initials(word: str, plain: str) -> bool:
    if len(plain) <= 1 or "." in word:
        return plain.isascii()
    is_short = len(plain) <= 3 and word == word.upper() and word != word.lower()
    is_known = plain in SHORT_NAMES or plain in name_pools.load_known_given_names()
    return is_short and not is_known and (len(plain) == 2 or not set(plain) & set("aeiouy"))


def _replace_part(part: _NamePart, names: NameMap, used: Callable[[str], None]) -> str:
    if part.kind == "kept":
        return part.text
    if part.kind == "digit":
        return names.replace_digit(part.text)
    if part.kind == "initials":
        return "".join(_match_letter_case(c, names.replace_initial(c)) if c.isalpha() else c for c in part.text)
    name = names.replace_part(part.text)
    used(normalize(name))
    return match_case(part.text, name)


def _match_letter_case(letter: str, initial: str) -> str:
    return initial.lower() if letter != letter.upper() else initial


def match_case(original: str, surrogate: str) -> str:
    """Write the surrogate in capitals, in lower case or capitalised, like the original."""
    letters = [c for c in original if c.isalpha()]
    if len(letters) > 1 and original == original.upper() and original != original.lower():
        return surrogate.upper()
    if original == original.lower() and original != original.upper():
        return surrogate.lower()
    return surrogate

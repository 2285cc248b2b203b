"""Compares names of people as a reader sees them: case, spacing, invisible characters and look-alike letters make no difference.

Decides "no one approves their own". Names are never compared in SQL, because databases fold case differently (SQLite only ASCII).
The look-alikes are those of Unicode Technical Standard 39.
"""

import json
import re
import unicodedata
from collections.abc import Iterable
from functools import cache, lru_cache
from importlib.resources import files

import confusable_homoglyphs

_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
"""Unicode's Default_Ignorable_Code_Point, and the blank Braille pattern."""
_SCRIPTS_TOGETHER = (
    {"CJK", "HIRAGANA", "KATAKANA"},
    {"CJK", "HANGUL"},
    {"CJK", "BOPOMOFO"},
)
"""Scripts that one word may mix: the level "highly restrictive" without Latin, which no name needs in the same word."""


@lru_cache(maxsize=4096)
def person_key(name: str) -> str:
    """One form for all spellings that are the same person. For comparison, not for display.

    >>> person_key("  Ward-Key  A ")
    'ward-key a'
    >>> person_key("ZOE\u0308 STRASSE") == person_key("Zo\u00eb Straße")
    True
    >>> person_key("\u0410nn\u2800\ufe0f") == person_key("Ann")
    True
    """
    folded = _INVISIBLE.sub("", unicodedata.normalize("NFKC", name))
    for _ in range(2):  # a digit can look like a capital letter
        folded = _skeleton(unicodedata.normalize("NFKC", folded.casefold()))
    return " ".join(folded.casefold().split())


def is_same_person(first: str, second: str) -> bool:
    return person_key(first) == person_key(second) or _look(first) == _look(second)


def find_look_alike(name: str, others: Iterable[str]) -> str | None:
    """The first other name that could be taken for this one."""
    return next((other for other in others if is_same_person(name, other)), None)


def has_mixed_scripts(name: str) -> bool:
    """Whether a word of the name has letters of several scripts, such as a Cyrillic one among Latin ones.

    >>> has_mixed_scripts("\u0410nn"), has_mixed_scripts("Анна Smith"), has_mixed_scripts("山田ゆき")
    (True, False, False)
    """
    return any(
        not _is_one_script({_script(c) for c in word if c.isalpha() and unicodedata.category(c) != "Lm"})
        for word in name.split()
    )


def _is_one_script(scripts: set[str]) -> bool:
    return len(scripts) <= 1 or any(scripts <= together for together in _SCRIPTS_TOGETHER)


def _script(letter: str) -> str:
    """The first word of the letter's Unicode name."""
    return unicodedata.name(unicodedata.normalize("NFKC", letter)[0], "UNKNOWN").split()[0].split("-")[0]


@lru_cache(maxsize=4096)
def _look(name: str) -> str:
    """As it looks, with its case: a capital I looks like a small L."""
    visible = _INVISIBLE.sub("", unicodedata.normalize("NFKC", name))
    return " ".join(_skeleton(visible).split())


def _skeleton(text: str) -> str:
    """The text with each character replaced by its prototype."""
    prototypes = _read_prototypes()
    plain = unicodedata.normalize("NFD", text)
    return unicodedata.normalize("NFC", "".join(prototypes.get(c, c) for c in plain))


@cache
def _read_prototypes() -> dict[str, str]:
    """Character → prototype, from the data of UTS 39: the simplest of all characters that look alike, or several characters."""
    data = json.loads((files(confusable_homoglyphs) / "confusables.json").read_text(encoding="utf-8"))
    pairs = [(source, entry["c"].replace("\u200e", "")) for source, found in data.items() for entry in found]
    groups: dict[str, set[str]] = {}
    for first, second in ((a, b) for a, b in pairs if len(a) == len(b) == 1):
        joined = groups.get(first, {first}) | groups.get(second, {second})
        for member in joined:
            groups[member] = joined
    single = {member: min(group, key=_simplicity) for member, group in groups.items()}
    several = {a: "".join(single.get(c, c) for c in b) for a, b in pairs if len(a) == 1 < len(b)}
    return single | several


def _simplicity(character: str) -> tuple[bool, bool, bool, int]:
    """ASCII letters first, lower case before upper case."""
    return (not character.isascii(), not character.isalpha(), character != character.lower(), ord(character))

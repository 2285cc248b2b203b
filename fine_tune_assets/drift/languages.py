"""Which language a text is in: by its script, and among languages in Latin letters by their commonest words.

Owns the choice; the words are in `reference/languages.txt`. Nothing is learned and no model loaded. A text that is too short or
too terse to tell is `unknown`, which counts as a language of its own: notes in key words are told from sentences by it.
"""

import re
import unicodedata
from collections import Counter
from pathlib import Path

from fine_tune_assets.core.word_lists import read_lists, read_variants

UNKNOWN = "unknown"
_FEWEST_WORDS = 4
_LOWEST_SHARE = 0.08
"""Of the words. English prose has 0.3 to 0.5, notes in key words 0.05 to 0.2."""
_LETTERS_READ = 4_000
_WORDS = read_variants(read_lists(Path(__file__).parent / "reference" / "languages.txt")["languages"])
_COMMON = {language: frozenset(words) for language, words in _WORDS.items()}
_SCRIPTS = {
    "CYRILLIC": "cyrillic", "GREEK": "greek", "ARABIC": "arabic", "HEBREW": "hebrew", "CJK": "chinese", "HIRAGANA": "japanese",
    "KATAKANA": "japanese", "HANGUL": "korean", "DEVANAGARI": "devanagari", "THAI": "thai",
}  # fmt: skip
_WORD = re.compile(r"[^\W\d_]+")


def language_of(text: str) -> str:
    """A language's code, a script's name where that decides, or `unknown`.

    >>> language_of("The patient has a cough and no fever.")
    'en'
    """
    read = text[:_LETTERS_READ]
    script = _script_of(read)
    if script is not None:
        return script
    words = Counter(_WORD.findall(read.lower()))
    total = words.total()
    if total < _FEWEST_WORDS:
        return UNKNOWN
    found = {name: sum(words[word] for word in common) for name, common in _COMMON.items()}
    best = max(found, key=lambda name: found[name])
    return best if found[best] >= _LOWEST_SHARE * total else UNKNOWN


def _script_of(text: str) -> str | None:
    """Of most letters, unless those are Latin."""
    letters = [letter for letter in text if letter.isalpha()]
    others = Counter(letter for letter in letters if ord(letter) > 0x24F)
    if others.total() * 2 <= len(letters):
        return None
    scripts: Counter[str] = Counter()
    for letter, count in others.items():
        scripts[_SCRIPTS.get(unicodedata.name(letter, "").partition(" ")[0], "other script")] += count
    # Japanese is written in Chinese characters too: its own ones decide.
    return "japanese" if scripts["japanese"] else scripts.most_common(1)[0][0]

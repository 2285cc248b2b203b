"""Detects a text's language by its script and, for Latin script, by common words (`reference/languages.txt`).

Uses no trained model. Texts that are too short or terse are `unknown`, which counts as a language and so separates keyword notes
from prose.
"""

import re
import unicodedata
from collections import Counter
from pathlib import Path

from fine_tune_assets.core.word_lists import read_lists, read_variants

UNKNOWN = "unknown"
_MIN_WORDS = 4
_MIN_COMMON_SHARE = 0.08
"""Minimum share of common words. English prose has 0.3 to 0.5, keyword notes 0.05 to 0.2."""
_MAX_CHARACTERS = 4_000
_WORDS = read_variants(read_lists(Path(__file__).parent / "reference" / "languages.txt")["languages"])
_COMMON_WORDS = {language: frozenset(words) for language, words in _WORDS.items()}
_SCRIPTS = {
    "CYRILLIC": "cyrillic", "GREEK": "greek", "ARABIC": "arabic", "HEBREW": "hebrew", "CJK": "chinese", "HIRAGANA": "japanese",
    "KATAKANA": "japanese", "HANGUL": "korean", "DEVANAGARI": "devanagari", "THAI": "thai",
}  # fmt: skip
_WORD = re.compile(r"[^\W\d_]+")


def detect_language(text: str) -> str:
    """Return a language code, a script name if the script decides, or `unknown`.

    >>> detect_language("The patient has a cough and no fever.")
    'en'
    """
    read = text[:_MAX_CHARACTERS]
    script = _detect_script(read)
    if script is not None:
        return script
    words = Counter(_WORD.findall(read.lower()))
    total = words.total()
    if total < _MIN_WORDS:
        return UNKNOWN
    counts = {name: sum(words[word] for word in common) for name, common in _COMMON_WORDS.items()}
    best = max(counts, key=lambda name: counts[name])
    return best if counts[best] >= _MIN_COMMON_SHARE * total else UNKNOWN


def _detect_script(text: str) -> str | None:
    """Return the most frequent script, unless it is Latin."""
    letters = [letter for letter in text if letter.isalpha()]
    others = Counter(letter for letter in letters if ord(letter) > 0x24F)
    if others.total() * 2 <= len(letters):
        return None
    scripts: Counter[str] = Counter()
    for letter, count in others.items():
        scripts[_SCRIPTS.get(unicodedata.name(letter, "").partition(" ")[0], "other script")] += count
    # Japanese also uses Chinese characters, so any kana decide.
    return "japanese" if scripts["japanese"] else scripts.most_common(1)[0][0]

"""Which language a text is in: by its script, and among languages in Latin letters by their commonest words.

Owns the lists. Nothing is learned and nothing loaded. A text that is too short or too terse to tell is `unknown`, which counts
as a language of its own: notes in key words are told from sentences by it.
"""

import re
import unicodedata
from collections import Counter

UNKNOWN = "unknown"
_FEWEST_WORDS = 4
_LOWEST_SHARE = 0.08
"""Of the words. English prose has 0.3 to 0.5, notes in key words 0.05 to 0.2."""
_LETTERS_READ = 4_000
_WORDS = {
    "en": "the and of to is in was with for that on has this are not be he she it at from or you her his have patient",
    "de": "der die das und ist nicht mit von den dem ein eine zu im auf für sich wird wurde bei hat auch des sie er es ich",
    "fr": "le la les des est et une un dans pour pas avec sur au du que qui il elle ce sont par plus nous vous de",
    "es": "el la los las de que y en un una es por con no para se del al su está como ha sin lo",
    "it": "il lo la gli di che è e un una per non con del della nel si da sono al ha come alla dei",
    "pt": "o a os as de que e do da em um uma para com não por no na se foi ao está como dos",
    "nl": "de het een en van is dat niet op te met voor zijn in er aan ook bij naar wordt heeft ik",
    "pl": "i w na z jest nie się do że to o po od jak przez przy dla oraz był ma są",
    "sv": "och att det som en är av för på med den inte har till om ett var från jag",
    "da": "og at det som en er af for på med den ikke har til om et var fra jeg",
    "fi": "ja on ei että se hän oli ovat joka mutta kun myös tai sekä niin ole",
    "tr": "ve bir bu da de için ile olarak çok daha olan var gibi ne değil",
    "cs": "a je se na v že to s z do o jsem ale jako který byl pro po není",
}
_COMMON = {language: frozenset(words.split()) for language, words in _WORDS.items()}
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

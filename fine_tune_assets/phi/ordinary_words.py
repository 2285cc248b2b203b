"""Words that a statistical recogniser takes for names and that are none: clinical terms, medicines, headings.

Owns how a finding is trimmed by the lists in `reference/ordinary_words.txt`. A name that the report's metadata states is never
trimmed.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from fine_tune_assets.core.word_lists import read_lists

_LISTS = {
    name: frozenset(words)
    for name, words in read_lists(Path(__file__).parent / "reference" / "ordinary_words.txt").items()
}

_HEADING_LINE = re.compile(r"^[ \t]*([A-Z][A-Z &/,()'-]{1,79}):?[ \t]*$", re.MULTILINE)
_TOKEN = re.compile(r"[^\s,;:/()\[\]{}\"“”•*|]+")
_DOSE_AFTER = re.compile(
    r"[ ]?(?:\(\w+\)[ ])?"
    r"(?:\d+(?:[.,/-]\d+)*[ ]?-?(?:mg|mcg|µg|g|ml|units?|iu|%|mm|cm|mmhg|x|times|tabs?|tablets?)?\b)",
    re.I,
)

HEADING_WORDS, BODY_HEADINGS = _LISTS["heading_words"], _LISTS["body_headings"]

ORDINARY_WORDS = _LISTS["ordinary_words"]


def protected_lines(text: str) -> list[tuple[int, int]]:
    """Offsets of section headings: lines in capitals made of heading words only, so that no name is among them."""
    return [
        match.span(1)
        for match in _HEADING_LINE.finditer(text)
        if all(word in HEADING_WORDS for word in re.findall(r"[A-Z][A-Z/'-]*", match[1]))
    ]


def name_like_parts(text: str, start: int, end: int, is_facility: bool) -> Iterator[tuple[int, int]]:
    """What of a finding can be a name: line by line, without ordinary and lower-case words at its ends.

    The name of a facility keeps its ordinary words ("General Hospital"), but not "the" and "at" before it.
    """
    for line in re.finditer(r"[^\r\n]+", text[start:end]):
        offset = start + line.start()
        tokens = [(offset + t.start(), offset + t.end()) for t in _TOKEN.finditer(line[0])]
        kept = _without_function_words(text, tokens) if is_facility else _without_ordinary_words(text, tokens)
        if kept and not _DOSE_AFTER.match(text, kept[-1][1]):
            yield kept[0][0], kept[-1][1]


Offsets = list[tuple[int, int]]


def _without_ordinary_words(text: str, tokens: Offsets) -> Offsets:
    kept = list(tokens)
    while kept and _is_ordinary(text[slice(*kept[0])]):
        kept.pop(0)
    while kept and _is_ordinary(text[slice(*kept[-1])]):
        kept.pop()
    # "Vitamin D. Hepatitis C." leaves initials that stand by no name.
    words = [text[slice(*token)] for token in tokens]
    has_name = any(not _is_ordinary(word) and not _INITIAL.fullmatch(word) for word in words)
    return kept if has_name or not any(map(_is_ordinary, words)) else []


def _without_function_words(text: str, tokens: Offsets) -> Offsets:
    kept = list(tokens)
    while kept and text[slice(*kept[0])].lower() in _LISTS["function_words"]:
        kept.pop(0)
    return kept if len(kept) > 1 else []


_INITIAL = re.compile(r"[A-Z]\.")
# Vertebrae, oxygen, grades and stages; and the speakers of a dialogue, such as Doctor_2.
_LETTER_AND_NUMBER = re.compile(r"[A-Za-z]\d{1,2}|[A-Za-z_]+_\d")
_GENERIC_MEDICINE = re.compile(
    r"[a-z]{3,}(?:pril|olol|artan|statin|azole|mycin|micin|cillin|oxacin|prazole|zepam|zolam|tidine|triptan|dipine"
    r"|gliptin|gliflozin|mab|tinib|parin|xaban|cyclovir|cycline|thiazide|semide|sone|solone|caine|setron|formin|barbital"
    r"|profen|oxetine|traline|pramine|fenac|coxib|zosin|terol|lukast|glitazone|peridone|apine)"
)


def _is_ordinary(token: str) -> bool:
    if _INITIAL.fullmatch(token):
        return False
    bare = token.strip(".?!'’-")
    bare = bare[:-2] if bare.endswith(("'s", "’s")) and bare.lower() not in ORDINARY_WORDS else bare
    return (
        bare == bare.lower()
        or bare.lower() in ORDINARY_WORDS
        or _LETTER_AND_NUMBER.fullmatch(bare) is not None
        or _GENERIC_MEDICINE.fullmatch(bare.lower()) is not None
    )

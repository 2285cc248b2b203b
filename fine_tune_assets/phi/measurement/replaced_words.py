"""Ordinary words and units that the scrubber took for names or places, which would otherwise become invented names unnoticed.

Lists only words that identify no person: words of the tagger's vocabulary that are no known names, and units after a number; both
only if these reports never capitalise them and the scrubber keeps them more often than it replaces them.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from fine_tune_assets.core.word_lists import read_lists
from fine_tune_assets.phi.spans.spans import KNOWN_RULE

_PHI = Path(__file__).parents[1]
_TOKENIZER = _PHI / "tagger" / "models" / "clinical" / "tokenizer.json"
_NAME_LISTS = ("surnames", "given_names", "known_given_names", "name_words", "place_words")
_NAME_KINDS = ("NAME", "LOCATION", "FACILITY")
_FEWEST_LETTERS = 4
_WORD = re.compile(r"[^\W\d_]+")
_CAPITALISED = re.compile(r"(?<=[a-z,;] )[A-Z][a-z]+")
"""Within a sentence."""
_UNIT = re.compile(r"[A-Za-z°µ%/]{1,3}[.,;:]?")
_NUMBER_BEFORE = re.compile(r"\d[ \u00a0]?\Z")


def count_replaced_words(
    texts: Mapping[str, str], spans: Iterable[Mapping[str, Any]]
) -> tuple[dict[str, int], frozenset[str]]:
    """Word or unit → times it was replaced, most frequent first; and the ids of these reports.

    `texts`: report id → raw text. `spans`: rows of `phi_spans`. A value that the metadata states is no mistake.
    """
    found = [
        (word, span["report_id"])
        for span in spans
        if span["label"] in _NAME_KINDS and span["recognizer"] != KNOWN_RULE
        for word in _list_words(texts[span["report_id"]], span["start"], span["end"])
    ]
    times = Counter(word for word, _ in found)
    hidden = _find_possible_names(times, texts)
    counts = {
        word: count for word, count in sorted(times.items(), key=lambda item: (-item[1], item[0])) if word not in hidden
    }
    return counts, frozenset(report for word, report in found if word in counts)


def _find_possible_names(times: Mapping[str, int], texts: Mapping[str, str]) -> set[str]:
    """Words of several letters that these reports also capitalise, or that the scrubber replaces at least as often as it keeps
    them: without capitals, as in a transcript, only this tells a name from a word."""
    words = {word for word in times if len(word) > 1}
    if not words:
        return set()
    named = {word.lower() for text in texts.values() for word in _CAPITALISED.findall(text)}
    every = Counter(word for text in texts.values() for word in _WORD.findall(text) if word in words)
    return {word for word in words if word.lower() in named or every[word] - times[word] <= times[word]}


def _list_words(text: str, start: int, end: int) -> Sequence[str]:
    value = text[start:end]
    if _UNIT.fullmatch(value) and _NUMBER_BEFORE.search(text, max(0, start - 2), start):
        return [value.rstrip(".,;:")]
    return [word for word in _WORD.findall(value) if word in load_ordinary_words()] if value.islower() else []


@cache
def load_ordinary_words() -> frozenset[str]:
    """About 17,000 words in lower case. Takes 70 ms."""
    vocabulary = json.loads(_TOKENIZER.read_text(encoding="utf-8"))["model"]["vocab"]
    names = set(_read_names())
    return frozenset(w for w in vocabulary if len(w) >= _FEWEST_LETTERS and w.isascii() and w.isalpha()) - names


def _read_names() -> Iterator[str]:
    for name in _NAME_LISTS:
        for entries in read_lists(_PHI / "reference" / f"{name}.txt").values():
            yield from (word.lower() for entry in entries for word in entry.split())

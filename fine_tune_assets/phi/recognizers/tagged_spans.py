"""Converts the tagger's word probabilities to spans.

A span never ends inside a number or a hyphenated name.
"""

import re
from collections.abc import Iterator, Sequence

from fine_tune_assets.phi.recognizers.short_dates import widen_to_short_date
from fine_tune_assets.phi.spans.spans import Span
from fine_tune_assets.phi.tagger.labels import LABELS
from fine_tune_assets.phi.tagger.prediction import TaggedWord

RULE = "tagger"
_JOINING_CHARACTERS = set("-/.'’,:@_#+&()–")
"""Characters that join the parts of an identifier even if the tagger scores them low on their own."""
_NUMBER_LABELS = frozenset(LABELS) - {"NAME", "LOCATION", "FACILITY", "O"}
_MAX_GROWTH = 200
"""Characters around a finding that can be part of the same identifier."""
_FINAL_INITIAL = re.compile(r"(?<![^\W_])[^\W\d_]$")


def decode_spans(text: str, words: Sequence[TaggedWord], threshold: float) -> Iterator[Span]:
    """Spans of words at or above the threshold, joined with neighbours of the same label."""
    group: list[TaggedWord] = []
    for word in words:
        if word.probability < threshold:
            continue
        if group and not _is_continuation(text, group[-1], word):
            yield from _build_span(text, group)
            group = []
        group.append(word)
    if group:
        yield from _build_span(text, group)


def _is_continuation(text: str, last: TaggedWord, word: TaggedWord) -> bool:
    between = text[last.end : word.start]
    if not between:
        return True
    if last.label != word.label:
        return False
    return (
        (between.isspace() and (len(between) == 1 or "\n" in between))  # two spaces separate the columns of a form
        or (len(between) == 1 and between in _JOINING_CHARACTERS)
        or (word.label == "NAME" and between in (", ", ". "))
    )


def _build_span(text: str, group: Sequence[TaggedWord]) -> Iterator[Span]:
    heavy = [w for w in group if text[w.start : w.end].isalnum()]
    if not heavy:
        return
    label = max(heavy, key=lambda w: (w.end - w.start) * w.probability).label
    begin = max(0, heavy[0].start - _MAX_GROWTH)
    nearby = text[begin : heavy[-1].end + _MAX_GROWTH]
    start, end = (begin + at for at in _expand(nearby, heavy[0].start - begin, heavy[-1].end - begin, label))
    yield Span(start, end, label, RULE, round(max(w.probability for w in heavy), 3))


def _expand(text: str, start: int, end: int, label: str) -> tuple[int, int]:
    """Widen the span to the full run of characters in which identifiers of its kind are written."""
    if label in _NUMBER_LABELS and label != "DATE" and label != "AGE":
        while start > 0 and (
            text[start - 1].isalnum() or (text[start - 1] in "-/._@" and start > 1 and text[start - 2].isalnum())
        ):
            start -= 1
        while end < len(text) and (
            text[end].isalnum() or (text[end] in "-/._@" and end + 1 < len(text) and text[end + 1].isalnum())
        ):
            end += 1
        while start > 0 and text[start - 1] == "#":
            start -= 1
    elif label != "AGE":
        while start > 1 and text[start - 1] in "-'’" and text[start - 2].isalpha():
            start -= 1
            while start > 0 and text[start - 1].isalpha():
                start -= 1
        while end + 1 < len(text) and text[end] in "-'’" and text[end + 1].isalpha():
            end += 1
            while end < len(text) and text[end].isalpha():
                end += 1
        if label == "DATE":
            start, end = widen_to_short_date(text, start, end)
        if label == "NAME" and _FINAL_INITIAL.search(text, start, end) and text[end : end + 1] == ".":
            end += 1
    return start, end

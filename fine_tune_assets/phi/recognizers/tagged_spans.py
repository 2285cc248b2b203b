"""From words with probabilities to spans.

Owns the threshold's meaning and what belongs to one identifier. A span never ends inside a number or a hyphenated name.
"""

import re
from collections.abc import Iterator, Sequence

from fine_tune_assets.phi.recognizers.short_dates import short_date_around
from fine_tune_assets.phi.spans.spans import Span
from fine_tune_assets.phi.tagger.labels import LABELS
from fine_tune_assets.phi.tagger.prediction import TaggedWord

RULE = "tagger"
_JOINTS = set("-/.'’,:@_#+&()–")
"""Characters that hold the parts of an identifier together even if the tagger takes them alone for nothing."""
_NUMBER_LABELS = frozenset(LABELS) - {"NAME", "LOCATION", "FACILITY", "O"}
_ENDS_IN_INITIAL = re.compile(r"(?<![^\W_])[^\W\d_]$")


def spans_of_words(text: str, words: Sequence[TaggedWord], threshold: float) -> Iterator[Span]:
    """Identifiers of a text: words of at least the threshold, joined with their neighbours of the same label."""
    group: list[TaggedWord] = []
    for word in words:
        if word.probability < threshold:
            continue
        if group and not _belongs(text, group[-1], word):
            yield from _span(text, group)
            group = []
        group.append(word)
    if group:
        yield from _span(text, group)


def _belongs(text: str, last: TaggedWord, word: TaggedWord) -> bool:
    between = text[last.end : word.start]
    if not between:
        return True
    if last.label != word.label:
        return False
    return (
        (between.isspace() and (len(between) == 1 or "\n" in between))  # two spaces part the columns of a form
        or (len(between) == 1 and between in _JOINTS)
        or (word.label == "NAME" and between in (", ", ". "))
    )


def _span(text: str, group: Sequence[TaggedWord]) -> Iterator[Span]:
    heavy = [w for w in group if text[w.start : w.end].isalnum()]
    if not heavy:
        return
    label = max(heavy, key=lambda w: (w.end - w.start) * w.probability).label
    start, end = _whole(text, heavy[0].start, heavy[-1].end, label)
    yield Span(start, end, label, RULE, round(max(w.probability for w in heavy), 3))


def _whole(text: str, start: int, end: int, label: str) -> tuple[int, int]:
    """The span, widened to the whole run of characters that an identifier of its kind is written in."""
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
            start, end = short_date_around(text, start, end)
        if label == "NAME" and _ENDS_IN_INITIAL.search(text, start, end) and text[end : end + 1] == ".":
            end += 1
    return start, end

"""Spans of identifiers in a text: merge overlapping ones, and replace them."""

import bisect
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

Offsets = tuple[int, int]
"""First character, and one past the last."""
KNOWN_RULE = "known_identifier"
"""Recognizer name of spans that match a known identifier."""
JOINABLE_LABELS = {"NAME", "LOCATION", "FACILITY", "DATE"}
"""Two spans of one of these kinds with only white space between them are merged, such as a first and a last name."""


@dataclass(frozen=True)
class Span:
    """An identifier in the raw text; `end` is exclusive."""

    start: int
    end: int
    label: str
    recognizer: str
    score: float


class Intervals:
    """Offsets that are searched often, in logarithmic time. They may overlap."""

    def __init__(self, offsets: Iterable[Offsets]) -> None:
        self._ordered = sorted(offsets)
        self._furthest = list(itertools.accumulate((end for _, end in self._ordered), max))

    def has_around(self, start: int, end: int) -> bool:
        """Whether one interval contains these offsets."""
        count = bisect.bisect_right(self._ordered, start, key=lambda one: one[0])
        return count > 0 and self._furthest[count - 1] >= end

    def list_overlapping(self, start: int, end: int) -> Iterator[Offsets]:
        """Intervals that share a character with these offsets, last one first."""
        at = bisect.bisect_left(self._ordered, end, key=lambda one: one[0]) - 1
        while at >= 0 and self._furthest[at] > start:
            if self._ordered[at][1] > start:
                yield self._ordered[at]
            at -= 1

    def has_overlap(self, start: int, end: int) -> bool:
        return any(True for _ in self.list_overlapping(start, end))


_WHOLE_KINDS = frozenset({"EMAIL", "URL"})


def merge_spans(text: str, spans: Iterable[Span]) -> tuple[Span, ...]:
    """The union of all spans, in order. A merged span takes kind, recognizer and score of its longest part."""
    merged: list[Span] = []
    longest: Span | None = None
    for span in sorted(spans, key=lambda s: (s.start, -s.end, s.label, s.recognizer)):
        if longest and _is_part_of_group(text, merged[-1], span):
            longest = max(longest, span, key=_rank)
            start, end = merged[-1].start, max(merged[-1].end, span.end)
            merged[-1] = Span(start, end, longest.label, longest.recognizer, longest.score)
        else:
            longest = span
            merged.append(span)
    return tuple(merged)


def replace_spans(text: str, spans: Iterable[Span]) -> str:
    """The text with `[KIND]` in place of each span; spans must be in order and must not overlap."""
    return substitute(text, (((span.start, span.end), f"[{span.label}]") for span in spans))


def substitute(text: str, pieces: Iterable[tuple[Offsets, str]]) -> str:
    """The text with replacements at the given offsets, which must be in order."""
    parts: list[str] = []
    at = 0
    for (start, end), new in pieces:
        parts += [text[at:start], new]
        at = end
    return "".join([*parts, text[at:]])


def locate_replacements(pieces: Iterable[tuple[Offsets, str]]) -> Iterator[Offsets]:
    """Offsets of the replacements in `substitute(text, pieces)`."""
    shift = 0
    for (start, end), new in pieces:
        yield start + shift, start + shift + len(new)
        shift += len(new) - (end - start)


def shift_spans(spans: Iterable[Span], replaced: Sequence[Span]) -> Iterator[Span]:
    """Spans of the raw text, moved to `replace_spans(text, replaced)`; parts covered by a replaced span are dropped."""
    shifts = [(0, 0)]
    for r in replaced:
        shifts.append((r.end, shifts[-1][1] + len(r.label) + 2 - (r.end - r.start)))
    ends = [end for end, _ in shifts]
    for span in spans:
        for start, end in _find_uncovered(span, replaced):
            by = shifts[bisect.bisect_right(ends, start) - 1][1]
            yield Span(start + by, end + by, span.label, span.recognizer, span.score)


def _find_uncovered(span: Span, replaced: Sequence[Span]) -> Iterator[Offsets]:
    """The parts of a span that no replaced span covers."""
    at = span.start
    first = bisect.bisect_right(replaced, span.start, key=lambda r: r.end)
    for index in range(first, len(replaced)):
        r = replaced[index]
        if r.start >= span.end:
            break
        if at < r.start:
            yield at, r.start
        at = max(at, r.end)
    if at < span.end:
        yield at, span.end


def _is_part_of_group(text: str, merged: Span, span: Span) -> bool:
    is_joined = span.label in JOINABLE_LABELS and span.label == merged.label
    return span.start < merged.end or (is_joined and text[merged.end : span.start].strip(" ") == "")


def _rank(span: Span) -> tuple[bool, bool, int, bool, float]:
    """A mail or web address is one whole, also around a known name. Otherwise metadata is certain, so it wins. Between equal
    lengths, the more specific kind wins: HEALTH_PLAN over ID."""
    is_known = span.recognizer == KNOWN_RULE
    return span.label in _WHOLE_KINDS, is_known, span.end - span.start, span.label != "ID", span.score

"""Where identifiers are in a text: joining overlapping findings, and putting the kind in their place.

Owns the arithmetic of offsets. Does not know how an identifier is found.
"""

import bisect
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

Offsets = tuple[int, int]
"""First character, and the one after the last."""
KNOWN = "known_identifier"
"""The rule that finds what the report's metadata states."""
JOINED_OVER_SPACE = {"NAME", "LOCATION", "FACILITY", "DATE"}
"""Two findings of one of these kinds with only a space between them are one: a first and a last name, say."""


@dataclass(frozen=True)
class Span:
    """A finding in the raw text; `end` is the character after its last one."""

    start: int
    end: int
    label: str
    rule: str
    score: float


def merge_spans(text: str, spans: Iterable[Span]) -> tuple[Span, ...]:
    """The union of all findings, in order. What was joined takes kind, rule and score of its longest part."""
    groups: list[list[Span]] = []
    for span in sorted(spans, key=lambda s: (s.start, -s.end, s.label, s.rule)):
        if groups and _belongs(text, groups[-1], span):
            groups[-1].append(span)
        else:
            groups.append([span])
    return tuple(_union(group) for group in groups)


def replace_spans(text: str, spans: Iterable[Span]) -> str:
    """The text with `[KIND]` in place of every span; spans are in order and do not overlap."""
    return substitute(text, (((span.start, span.end), f"[{span.label}]") for span in spans))


def substitute(text: str, pieces: Iterable[tuple[Offsets, str]]) -> str:
    """The text with other words at those places, which are in order."""
    parts: list[str] = []
    at = 0
    for (start, end), new in pieces:
        parts += [text[at:start], new]
        at = end
    return "".join([*parts, text[at:]])


def places_after(pieces: Iterable[tuple[Offsets, str]]) -> Iterator[Offsets]:
    """Where the other words are in `substitute(text, pieces)`."""
    shift = 0
    for (start, end), new in pieces:
        yield start + shift, start + shift + len(new)
        shift += len(new) - (end - start)


def moved_spans(spans: Iterable[Span], replaced: Sequence[Span]) -> Iterator[Span]:
    """Spans of the raw text as they stand in `replace_spans(text, replaced)`; what a replaced one covers is left out."""
    shifts = [(0, 0)]
    for r in replaced:
        shifts.append((r.end, shifts[-1][1] + len(r.label) + 2 - (r.end - r.start)))
    ends = [end for end, _ in shifts]
    for span in spans:
        for start, end in _left_over(span, replaced):
            by = shifts[bisect.bisect_right(ends, start) - 1][1]
            yield Span(start + by, end + by, span.label, span.rule, span.score)


def _left_over(span: Span, replaced: Sequence[Span]) -> Iterator[Offsets]:
    """The parts of a span that no replaced one covers."""
    at = span.start
    for r in replaced:
        if r.start < span.end and span.start < r.end:
            if at < r.start:
                yield at, r.start
            at = max(at, r.end)
    if at < span.end:
        yield at, span.end


def _belongs(text: str, group: list[Span], span: Span) -> bool:
    end = max(s.end for s in group)
    is_joined = span.label in JOINED_OVER_SPACE and span.label == _union(group).label
    return span.start < end or (is_joined and text[end : span.start].strip(" ") == "")


def _union(group: list[Span]) -> Span:
    # What the metadata states is certain. Of equally long ones the one that says more: a number of a plan is more than a number.
    longest = max(group, key=lambda s: (s.rule == KNOWN, s.end - s.start, s.label != "ID", s.score))
    return Span(group[0].start, max(s.end for s in group), longest.label, longest.rule, longest.score)

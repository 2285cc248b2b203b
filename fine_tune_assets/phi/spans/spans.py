"""Spans of identifiers in a text: merge overlapping ones, and replace them."""

import bisect
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


def merge_spans(text: str, spans: Iterable[Span]) -> tuple[Span, ...]:
    """The union of all spans, in order. A merged span takes kind, recognizer and score of its longest part."""
    groups: list[list[Span]] = []
    for span in sorted(spans, key=lambda s: (s.start, -s.end, s.label, s.recognizer)):
        if groups and _is_part_of_group(text, groups[-1], span):
            groups[-1].append(span)
        else:
            groups.append([span])
    return tuple(_merge_group(group) for group in groups)


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
    for r in replaced:
        if r.start < span.end and span.start < r.end:
            if at < r.start:
                yield at, r.start
            at = max(at, r.end)
    if at < span.end:
        yield at, span.end


def _is_part_of_group(text: str, group: list[Span], span: Span) -> bool:
    end = max(s.end for s in group)
    is_joined = span.label in JOINABLE_LABELS and span.label == _merge_group(group).label
    return span.start < end or (is_joined and text[end : span.start].strip(" ") == "")


def _merge_group(group: list[Span]) -> Span:
    # Metadata is certain, so it wins. Between equal lengths, the more specific kind wins: HEALTH_PLAN over ID.
    longest = max(group, key=lambda s: (s.recognizer == KNOWN_RULE, s.end - s.start, s.label != "ID", s.score))
    return Span(group[0].start, max(s.end for s in group), longest.label, longest.recognizer, longest.score)

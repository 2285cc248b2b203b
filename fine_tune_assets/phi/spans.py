"""Where identifiers are in a text: joining overlapping findings, and putting the kind in their place.

Owns the arithmetic of offsets. Does not know how an identifier is found.
"""

from collections.abc import Iterable
from dataclasses import dataclass

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
    parts: list[str] = []
    at = 0
    for span in spans:
        parts += [text[at : span.start], f"[{span.label}]"]
        at = span.end
    return "".join([*parts, text[at:]])


def _belongs(text: str, group: list[Span], span: Span) -> bool:
    end = max(s.end for s in group)
    is_joined = span.label in JOINED_OVER_SPACE and span.label == _union(group).label
    return span.start < end or (is_joined and text[end : span.start].strip(" ") == "")


def _union(group: list[Span]) -> Span:
    longest = max(group, key=lambda s: (s.end - s.start, s.score))
    return Span(group[0].start, max(s.end for s in group), longest.label, longest.rule, longest.score)

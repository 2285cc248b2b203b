"""Splits texts into plain-text pieces with kinds: placeholders, flagged places and changes. Templates add the markup."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from types import MappingProxyType
from typing import Literal, NamedTuple

from fine_tune_assets.approval.flags import flag_spans, sentence_spans
from fine_tune_assets.desk.sequence_diff import Words, diff_sequences
from fine_tune_assets.phi.spans.vocabulary import load_vocabulary

_TOKEN = re.compile(r"\d+(?:[.,]\d+)+|\w+|\s+|[^\w\s]")
FLAGGED_SENTENCE = "flagged sentence"
"""Kind of the sentence around a flagged place."""
SOURCED = "sourced"
"""Kind of a numbered sentence, and of its source, which has the same number."""
TAKEN_FOR = "taken for "
"""Start of the kind of words that the scan of the final texts found; the kind of identifier follows. The template `marks.html`
knows it."""
OUTSIDE = "outside"
"""Kind of the parts of a report that are not in the input."""
FAMILIES: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "people": frozenset({"NAME"}),
        "places": frozenset({"FACILITY", "LOCATION"}),
        "dates": frozenset({"AGE", "DATE"}),
        "numbers": frozenset({"ACCOUNT", "EMAIL", "FAX", "HEALTH_PLAN", "ID", "LICENSE", "MRN", "PHONE", "SSN"}),
        "other": frozenset({"DEVICE", "IP", "URL", "VEHICLE"}),
    }
)
"""Family of identifiers → its kinds. Pages give each family a colour."""
FAMILY_LABELS: Mapping[str, str] = MappingProxyType(
    {
        "people": "people",
        "places": "places",
        "dates": "dates and ages",
        "numbers": "numbers and contacts",
        "other": "other identifiers",
    }
)
_FAMILY_BY_KIND = {kind: family for family, kinds in FAMILIES.items() for kind in kinds}
Change = Literal["same", "added", "removed"]


class TextSpan(NamedTuple):
    start: int
    end: int
    kind: str
    number: int = 0
    """Number of the flag that concerns this place, or of the sentence if the kind is SOURCED, from 1; 0: none."""


Spans = Iterable[TextSpan | tuple[int, int, str]]


@dataclass(frozen=True)
class Piece:
    text: str
    kinds: tuple[str, ...] = ()
    """Empty for plain text."""
    numbers: tuple[int, ...] = ()
    """Numbers of the flags that concern this place."""
    sources: tuple[int, ...] = ()
    """Numbers of the sentences that are here, or that have their source here."""


@dataclass(frozen=True)
class DiffPiece:
    text: str
    change: Change
    kinds: tuple[str, ...] = ()
    """Always empty for removed text."""
    numbers: tuple[int, ...] = ()
    is_coarse: bool = False
    """The texts differ too much to compare this part word by word; it may contain unchanged words."""


def mark_placeholders(
    text: str, domain: str, outside: Sequence[tuple[int, int]] = (), sources: Spans = ()
) -> list[Piece]:
    """Split a tagged report, so that each `[KIND]` is a separate piece with its family as its kind.

    The kinds that only the domain has are numbers. `outside` are the parts that are not in the input, `sources` support a
    sentence.
    """
    tags = load_vocabulary(domain).tag.finditer(text)
    spans = [TextSpan(*tag.span(), _FAMILY_BY_KIND.get(tag[0][1:-1], "numbers")) for tag in tags]
    return mark_spans(text, [*spans, *sources, *(TextSpan(start, end, OUTSIDE) for start, end in outside)])


def list_families(pieces: Iterable[Piece]) -> dict[str, str]:
    """Family → label, for the families that occur."""
    present = {kind for piece in pieces for kind in piece.kinds}
    return {family: label for family, label in FAMILY_LABELS.items() if family in present}


def find_flagged_places(text: str, flags: Sequence[str]) -> list[TextSpan]:
    """The places that the flags concern, with the number of the flag, and the sentences around them.

    A flag of the whole output has no number there: it would be at every word.
    """
    places = [
        TextSpan(*span, number=0 if span[:2] == (0, len(text)) else number)
        for number, flag in enumerate(flags, start=1)
        for span in flag_spans(text, [flag])
    ]
    sentences = sentence_spans(text, [span[:3] for span in places])
    return [*places, *(TextSpan(start, end, FLAGGED_SENTENCE) for start, end in sentences)]


def mark_spans(text: str, spans: Spans) -> list[Piece]:
    """Split at the ends of spans. Spans may overlap and may exceed the text."""
    known = [TextSpan(*span) for span in spans]
    clipped = [span._replace(start=max(0, span.start), end=min(len(text), span.end)) for span in known]
    begun: dict[int, list[TextSpan]] = defaultdict(list)
    for span in clipped:
        if span.start < span.end:
            begun[span.start].append(span)
    ends = {span.end for spans_at in begun.values() for span in spans_at}
    pieces, covering = list[Piece](), list[TextSpan]()
    for start, end in pairwise(sorted({0, len(text), *begun, *ends})):
        covering = [*(span for span in covering if span.end > start), *begun.get(start, ())]
        marks = [span for span in covering if span.kind != SOURCED]
        kinds, numbers = {span.kind for span in marks}, {span.number for span in marks} - {0}
        sources = {span.number for span in covering if span.kind == SOURCED}
        pieces.append(Piece(text[start:end], tuple(sorted(kinds)), tuple(sorted(numbers)), tuple(sorted(sources))))
    return pieces


def diff_words(before: str, after: str) -> list[DiffPiece]:
    """Removed and added words; consecutive equal words are one piece.

    >>> [(piece.text, piece.change) for piece in diff_words("No fever.", "No high fever.")]
    [('No ', 'same'), ('high ', 'added'), ('fever.', 'same')]
    """
    pieces: list[DiffPiece] = []
    for run in diff_sequences(_TOKEN.findall(before), _TOKEN.findall(after)):
        parts: tuple[tuple[Change, Words], ...] = (("same", run.same), ("removed", run.removed), ("added", run.added))
        texts = [(change, "".join(words)) for change, words in parts if words]
        pieces += [DiffPiece(text, change, is_coarse=run.is_coarse and change != "same") for change, text in texts]
    return pieces


def mark_diff_spans(pieces: Iterable[DiffPiece], spans: Spans) -> list[DiffPiece]:
    """Split a diff at the ends of spans, which refer to the new text."""
    known, marked = [TextSpan(*span) for span in spans], list[DiffPiece]()
    at = 0
    for piece in pieces:
        if piece.change == "removed":
            marked.append(piece)
            continue
        inside = [span._replace(start=span.start - at, end=span.end - at) for span in known]
        parts = mark_spans(piece.text, inside)
        marked += [replace(piece, text=part.text, kinds=part.kinds, numbers=part.numbers) for part in parts]
        at += len(piece.text)
    return marked

"""Completes findings to the identifiers that a reader sees: the rest of a code, a name or an address is removed too.

Runs after the findings are merged, and finds nothing that is not next to a finding.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from fine_tune_assets.phi.recognizers.completion.address_chains import PLACES, find_chains
from fine_tune_assets.phi.recognizers.completion.paired_marks import complete_marks
from fine_tune_assets.phi.recognizers.completion.whole_addresses import grow_address, is_one_address, is_postcode
from fine_tune_assets.phi.recognizers.completion.whole_names import grow_company, grow_date, grow_name, is_one_name
from fine_tune_assets.phi.recognizers.completion.whole_numbers import NUMBERLESS_KINDS, grow_number, is_one_number
from fine_tune_assets.phi.recognizers.domain_rules import DomainRules
from fine_tune_assets.phi.spans.spans import KNOWN_RULE, Intervals, Offsets, Span, merge_spans
from fine_tune_assets.phi.spans.vocabulary import Vocabulary

RULE = "completed"
_MAX_GROWTH = 400
"""Characters around a finding that can be part of the same identifier."""
_MAX_JOINED = 1_000
"""Characters of two findings that can be one identifier."""
_ROUNDS = 2
"""A part of an address that one round adds can be next to a further part."""


def complete_spans(text: str, spans: Sequence[Span], domain: DomainRules) -> tuple[Span, ...]:
    """Findings, each grown to the whole identifier; they must be in order and must not overlap."""
    kept = Intervals(domain.find_kept_values(text) if spans else ())
    complete = tuple(spans)
    for _ in range(_ROUNDS):
        ends, starts = [0, *(span.end for span in complete)], [*(span.start for span in complete[1:]), len(text)]
        limits = zip(ends, starts, strict=False)
        grown = [
            one
            for span, around in zip(complete, limits, strict=False)
            for one in _grow(text, span, around, domain.vocabulary, kept)
        ]
        complete = merge_spans(text, [*complete, *grown])
        complete = tuple(_join_chains(text, tuple(_join(text, complete, domain.vocabulary))))
    return complete


def _grow(text: str, span: Span, around: Offsets, vocabulary: Vocabulary, kept: Intervals) -> Iterator[Span]:
    """At most one span: the finding with what is next to it. Reads only the text nearby."""
    first = max(0, span.start - _MAX_GROWTH)
    nearby = text[first : span.end + _MAX_GROWTH]
    here = replace(span, start=span.start - first, end=span.end - first)
    offsets = _find_ends(nearby, here, (around[0] - first, around[1] - first), vocabulary)
    if offsets is None or offsets == (here.start, here.end):
        return
    start, end = offsets[0] + first, offsets[1] + first
    is_number = span.label not in ("NAME", "DATE", *PLACES)
    # An amount or the number of a clause next to a code is not part of it.
    if is_number and any(stop <= span.start or span.end <= at for at, stop in kept.list_overlapping(start, end)):
        return
    yield replace(span, start=start, end=end, recognizer=RULE)


def _find_ends(text: str, span: Span, around: Offsets, vocabulary: Vocabulary) -> Offsets | None:
    if span.label == "NAME":
        start, end = grow_name(text, span, vocabulary)
        end = grow_company(text, end, is_facility=False)
    elif span.label == "DATE":
        start, end = grow_date(text, span)
    elif span.label in PLACES:
        start, end = grow_address(text, span, around, vocabulary)
        end = grow_company(text, end, span.label == "FACILITY")
    else:
        return None if span.label in NUMBERLESS_KINDS else grow_number(text, span, vocabulary)
    return complete_marks(text, start, end) if span.label in ("NAME", *PLACES) else (start, end)


def _join(text: str, spans: Sequence[Span], vocabulary: Vocabulary) -> Iterator[Span]:
    """Spans, with one in place of two that are parts of one identifier."""
    waiting: Span | None = None
    for span in spans:
        if waiting is None:
            waiting = span
        elif span.end - waiting.start < _MAX_JOINED and (label := _find_common_label(text, waiting, span, vocabulary)):
            rule = KNOWN_RULE if KNOWN_RULE in (waiting.recognizer, span.recognizer) else RULE
            waiting = replace(waiting, end=span.end, label=label, recognizer=rule, score=max(waiting.score, span.score))
        else:
            yield waiting
            waiting = span
    if waiting is not None:
        yield waiting


def _join_chains(text: str, spans: Sequence[Span]) -> Iterator[Span]:
    """Spans, with one place instead of a row that is one address."""
    at = 0
    for first, last in find_chains(text, spans):
        yield from spans[at:first]
        row = spans[first : last + 1]
        rule = KNOWN_RULE if any(span.recognizer == KNOWN_RULE for span in row) else RULE
        score = max(span.score for span in row)
        yield replace(row[0], end=row[-1].end, label="LOCATION", recognizer=rule, score=score)
        at = last + 1
    yield from spans[at:]


def _find_common_label(text: str, left: Span, right: Span, vocabulary: Vocabulary) -> str | None:
    people = ("NAME", "FACILITY")
    is_name = "NAME" in (left.label, right.label) or (left.label in people and right.label in people)
    if (
        is_name
        and left.label in people
        and right.label in ("NAME", *PLACES)
        and is_one_name(text, left, right, vocabulary)
    ):
        # The tagger labels the last part of "Lotte op den Kamp" as a place.
        return "NAME"
    is_place = right.label in PLACES or (left.label in PLACES and is_postcode(text[right.start : right.end]))
    if left.label in ("NAME", *PLACES) and is_place:
        return "LOCATION" if is_one_address(text, left, right, vocabulary) else None
    longer = max(left, right, key=lambda span: span.end - span.start)
    return longer.label if is_one_number(text, left, right) else None

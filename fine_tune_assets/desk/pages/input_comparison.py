"""Finds the input of a draft in its report: which sections it contains, and which parts of the report the model does not see.

Reviewers see the report with `[KIND]` placeholders, but inputs contain surrogates. The input is therefore located in the report
with surrogates, and the locations are mapped to the report with placeholders.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from fine_tune_assets.claims.sections import Section, normalize_heading, split_sections
from fine_tune_assets.core.text_alignment import place_parts
from fine_tune_assets.desk.pages.marked_text import SOURCED, Piece, TextSpan, diff_words, mark_spans
from fine_tune_assets.desk.stored_texts import StoredReport
from fine_tune_assets.phi.spans.vocabulary import load_vocabulary
from fine_tune_assets.recipes.domain_packs import load_pack

MINIMUM_SHARED = 0.5
"""Minimum share of the input's characters that the report contains. Below it, differences are not shown: most words differ."""
_MAX_NAMED_SECTIONS = 3
_PARAGRAPH_END = re.compile(r"\n[^\S\n]*\n\s*")
Range = tuple[int, int]
"""Start and end of a part of a text."""


@dataclass(frozen=True)
class InputView:
    """How the page shows an input next to its report."""

    summary: str
    """What the input is, such as "the report without its section PLAN"; empty without a report."""
    is_folded: bool
    """Whether the report next to it shows the whole input."""
    pieces: list[Piece]
    """The input; in an input that is not folded, words that the report lacks have the kind `added`."""
    outside: tuple[Range, ...] = ()
    """The parts of the tagged report that are not in the input; empty if they could not be found."""
    sources: tuple[TextSpan, ...] = ()
    """The sources of the output's sentences in the tagged report; empty unless all of them were found there."""


def compare_input(
    text: str,
    report: StoredReport | None,
    headings: Iterable[str],
    domain: str,
    sources: Sequence[TextSpan] = (),
    found: Sequence[TextSpan] = (),
) -> InputView:
    """`headings` are the headings of the recipe's tasks, `domain` its domain pack, `sources` places in the input that support
    the output, `found` words in it that the scan of the final texts takes for identifiers."""
    marks = [*sources, *found]
    if report is None or not text.strip():
        return InputView("", False, mark_spans(text, marks) if text.strip() else [])
    names = load_pack(domain).section_names
    located = locate_input(text, report.text, headings, names)
    if located is None:
        return _show_differences(text, report.text, marks)
    inside = _map_ranges(located, report, domain)
    outside = () if inside is None else _invert(inside, report.tagged_text)
    placed = _place_sources(text, sources, located, report, domain)
    are_placed = len(placed) == len(sources)
    return InputView(
        _describe(located, report.text, headings, names),
        are_placed and not found,
        mark_spans(text, marks),
        outside,
        placed if are_placed else (),
    )


def _place_sources(
    text: str, sources: Sequence[TextSpan], found: Sequence[Range], report: StoredReport, domain: str
) -> tuple[TextSpan, ...]:
    """The places of the sources in the tagged report; without those that the report does not contain as written."""
    aligned = align_texts(report.text, report.tagged_text, domain)
    placed = list[TextSpan]()
    for source in sources:
        quote = text[source.start : source.end]
        starts = (report.text.find(quote, start, end) for start, end in found)
        start = next((start for start in starts if start >= 0), -1)
        if aligned is not None and start >= 0:
            ends = _map(start, aligned), _map(start + len(quote), aligned)
            placed.append(TextSpan(*ends, SOURCED, source.number))
    return tuple(placed)


def locate_input(text: str, report: str, headings: Iterable[str], section_names: Collection[str]) -> list[Range] | None:
    """The parts of the report that the input consists of, in order; None if the report does not contain all of it.

    The whole input, or else each of its paragraphs, or else each of its lines is found as whole lines of the report. A heading
    may be written differently in the input.

    >>> locate_input("PLAN\\nRest.", "PLAN:\\nRest.\\n\\nALLERGIES\\nNone.", [], ["PLAN", "ALLERGIES"])
    [(6, 11)]
    """
    whole = _find_lines(report, text.strip(), 0)
    if whole is not None:
        return [whole]
    present = {section.heading for section in split_sections(report, headings, section_names)}
    names = {normalize_heading(heading) for heading in headings} | present
    found, at = list[Range](), 0
    for part in _PARAGRAPH_END.split(text.strip()):
        places = _locate_part(part, report, at, names)
        if places is None:
            return None
        found += places
        at = places[-1][1] if places else at
    return _merge(found, report) if found else None


def _locate_part(part: str, report: str, at: int, headings: set[str]) -> list[Range] | None:
    """A paragraph, or its lines without headings."""
    place = _find_lines(report, part, at) or _find_lines(report, part, 0)
    if place is not None:
        return [place]
    found = list[Range]()
    first, _, rest = part.partition("\n")
    if rest and normalize_heading(first) in headings:
        return _locate_part(rest, report, at, headings)
    for line in part.splitlines():
        if normalize_heading(line) in headings:
            continue
        place = _find_lines(report, line.strip(), found[-1][1] if found else 0)
        if place is None:
            return None
        found.append(place)
    return found


def _find_lines(report: str, part: str, at: int) -> Range | None:
    """The first place from `at` where the part is one or more whole lines of the report."""
    start = report.find(part, at) if part else -1
    while start >= 0:
        end = start + len(part)
        before, after = report[:start].rpartition("\n")[2], report[end:].partition("\n")[0]
        if not before.strip() and not after.strip():
            return start, end
        start = report.find(part, start + 1)
    return None


def _merge(ranges: Iterable[Range], text: str) -> list[Range]:
    """In the order of the text; ranges with nothing but white space between them become one."""
    merged = list[Range]()
    for start, end in sorted(ranges):
        if merged and not text[merged[-1][1] : start].strip():
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _describe(found: Sequence[Range], report: str, headings: Iterable[str], section_names: Collection[str]) -> str:
    sections = [section for section in split_sections(report, headings, section_names) if section.text]
    used, missing, at = list[Section](), list[Section](), 0
    for section in sections:
        place = report.find(section.text, at)
        at = max(at, place + len(section.text))
        is_used = any(start <= place and place + len(section.text) <= end for start, end in found)
        (used if is_used else missing).append(section)
    if not missing:
        return "same as the report"
    if len(missing) <= min(len(used), _MAX_NAMED_SECTIONS):
        return f"the report without {_name_sections(missing, 'its')}"
    if 0 < len(used) <= _MAX_NAMED_SECTIONS:
        return f"{_name_sections(used, 'the')} of the report"
    return "parts of the report"


def _name_sections(sections: Sequence[Section], article: str) -> str:
    names = [section.heading or "(text before the first heading)" for section in sections]
    listed = " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
    return f"{article} section{'s' if len(names) > 1 else ''} {listed}"


def align_texts(text: str, tagged: str, domain: str) -> list[tuple[Range, Range]] | None:
    """The parts that both texts share between placeholders: place in `text`, place in `tagged`. None if they do not match."""
    ends = [match.span() for match in load_vocabulary(domain).tag.finditer(tagged)]
    parts = list(zip([0, *(end for _, end in ends)], [*(start for start, _ in ends), len(tagged)], strict=True))
    places = place_parts([tagged[start:stop] for start, stop in parts], text)
    if places is None:
        return None
    return [((at, at + stop - start), (start, stop)) for at, (start, stop) in zip(places, parts, strict=True)]


def _map_ranges(ranges: Iterable[Range], report: StoredReport, domain: str) -> list[Range] | None:
    aligned = align_texts(report.text, report.tagged_text, domain)
    return None if aligned is None else [(_map(start, aligned), _map(end, aligned)) for start, end in ranges]


def _map(place: int, aligned: Sequence[tuple[Range, Range]]) -> int:
    """A place within a surrogate becomes the start of its placeholder."""
    mapped = 0
    for (start, end), (tagged_start, tagged_end) in aligned:
        if place < start:
            return mapped
        mapped = min(tagged_start + place - start, tagged_end)
        if place <= end:
            return mapped
    return mapped


def _invert(inside: Iterable[Range], text: str) -> tuple[Range, ...]:
    """The parts between the ranges, without white space around them."""
    outside, at = list[Range](), 0
    for start, end in [*inside, (len(text), len(text))]:
        part = text[at:start]
        if part.strip():
            outside.append((at + len(part) - len(part.lstrip()), at + len(part.rstrip())))
        at = end
    return tuple(outside)


def _show_differences(text: str, report: str, marks: Sequence[TextSpan]) -> InputView:
    kept = [piece for piece in diff_words(report, text) if piece.change != "removed"]
    shared = sum(len(piece.text) for piece in kept if piece.change == "same")
    if shared < MINIMUM_SHARED * len(text):
        return InputView("another text than the report", False, mark_spans(text, marks))
    added, at = list[TextSpan](), 0
    for piece in kept:
        added += [] if piece.change == "same" else [TextSpan(at, at + len(piece.text), "added")]
        at += len(piece.text)
    pieces = mark_spans(text, [*added, *marks])
    return InputView("the report with differences; the marked words are not in the report", False, pieces)

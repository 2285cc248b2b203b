"""Finds the sections that reports have in common before a recipe names any, and proposes a task from them.

A heading is a short line of its own that many reports repeat, followed by text. Values of sections are counted, never returned: a
value that repeats can be a name.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from statistics import mean, median

_MIN_REPORTS, _MIN_SHARE = 3, 0.2
_MAX_PER_REPORT = 1.1
"""Occurrences of a heading in a report that has it; a value such as "None" repeats within a report."""
_HEADING = re.compile(r"(?:#{1,6} +)?(?:\d{1,2}(?:\.\d{1,2}){0,3}[.)]? +)?[^\W\d_][^.;!?|]{0,58}?:?")
_MAX_WORDS = 8
_MAX_LABEL_WORDS, _MAX_LABELS, _MIN_PER_LABEL = 5, 15, 3


@dataclass(frozen=True)
class FoundSection:
    heading: str
    """As the reports write it, without a colon."""
    reports: int
    words: int
    """In the middle report."""
    values: int
    """Number of different texts."""
    position: float
    """Mean place among the headings of a report."""
    spellings: tuple[str, ...]
    """The heading, then its other forms, such as `## Findings`."""

    @property
    def is_label(self) -> bool:
        """Whether a few short texts repeat, as in a classification."""
        return self.words <= _MAX_LABEL_WORDS and self.values <= min(_MAX_LABELS, self.reports // _MIN_PER_LABEL)


@dataclass(frozen=True)
class TaskProposal:
    inputs: tuple[str, ...]
    output: str


def find_sections(texts: Sequence[str]) -> list[FoundSection]:
    """In the order of the reports. A Markdown heading is returned without its number signs."""
    seen: dict[str, list[tuple[int, int, str]]] = defaultdict(list)
    spellings: dict[str, set[str]] = defaultdict(set)
    for report, text in enumerate(texts):
        for place, (written, body) in enumerate(_iter_headings(text)):
            heading = written.lstrip("# ")
            seen[heading].append((report, place, body))
            spellings[heading].add(written)
    found = []
    for heading, places in seen.items():
        reports = len({report for report, _, _ in places})
        bodies = [body for _, _, body in places if body]
        is_common = reports >= max(_MIN_REPORTS, ceil(_MIN_SHARE * len(texts)))
        if is_common and len(places) <= _MAX_PER_REPORT * reports and len(bodies) * 2 > len(places):
            found.append(
                FoundSection(
                    heading,
                    reports,
                    round(median(len(body.split()) for body in bodies)),
                    len({" ".join(body.casefold().split()) for body in bodies}),
                    mean(place for _, place, _ in places),
                    (heading, *sorted(spellings[heading] - {heading})),
                )
            )
    return sorted(found, key=lambda one: (one.position, one.heading))


def propose_task(sections: Sequence[FoundSection]) -> TaskProposal | None:
    """The task that a small model learns soonest; None with fewer than two sections.

    The output is the last section of repeated short texts, else the last section; the input is the longer ones.
    """
    if len(sections) < 2:
        return None
    output = next((one for one in reversed(sections) if one.is_label), sections[-1])
    others = [one for one in sections if one is not output]
    inputs = [one.heading for one in others if not one.is_label] or [one.heading for one in others]
    return TaskProposal(tuple(inputs), output.heading)


def _iter_headings(text: str) -> Iterator[tuple[str, str]]:
    """Each line that may be a heading, with the text up to the next one."""
    heading, body = "", list[str]()
    lines = text.splitlines()
    for at, line in enumerate(lines):
        written = line.strip()
        is_apart = at == 0 or not lines[at - 1].strip() or written.startswith("#") or written.endswith(":")
        if is_apart and len(written.split()) <= _MAX_WORDS and _HEADING.fullmatch(written) and not written.islower():
            if heading:
                yield heading, "\n".join(body).strip()
            heading, body = written.removesuffix(":").rstrip(), []
        else:
            body.append(line)
    if heading:
        yield heading, "\n".join(body).strip()

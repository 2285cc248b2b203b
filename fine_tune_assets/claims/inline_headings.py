"""Headings with text on their line, as in `FINDINGS: The rope is worn.`, for tasks that set `inline_headings`.

Such a line is broken into a heading line and text, so that the rules of `sections` apply. Only names that a task names, that are
known in the domain, or that a source repeats in capitals are broken: `BP: 120/80` is text.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping

from fine_tune_assets.claims.repeated_lines import MAX_PER_REPORT, MIN_REPORTS, MIN_SHARE
from fine_tune_assets.core.bounded_patterns import compile_bounded

_INLINE = compile_bounded(r"[ \t]{0,8}([A-Z][A-Za-z &/,()'-]{2,60}):(?=[ \t]{1,8}\S)")


def read_inline_heading(line: str) -> tuple[str, str] | None:
    """Heading, as written, and the text after it."""
    found = _INLINE.match(line)
    return None if found is None else (" ".join(found[1].split()), line[found.end() :].strip())


def find_repeated_inline_headings(texts: Iterable[tuple[str, str]]) -> dict[str, frozenset[str]]:
    """Source → names in capitals that begin lines with text in many of its reports, and once in each.

    `texts`: source and text of each report. The shares are those of `repeated_lines`.
    """
    reports, total = Counter[str](), defaultdict[str, Counter[str]](Counter)
    having = defaultdict[str, Counter[str]](Counter)
    for source, text in texts:
        found = [one[0] for line in text.splitlines() if (one := read_inline_heading(line)) is not None]
        names = [name for name in found if name.isupper()]
        reports[source] += 1
        total[source].update(names)
        having[source].update(set(names))
    return {
        source: frozenset(
            name
            for name, count in counts.items()
            if count >= max(MIN_REPORTS, MIN_SHARE * reports[source]) and total[source][name] <= MAX_PER_REPORT * count
        )
        for source, counts in having.items()
    }


def break_inline_headings(text: str, names: Collection[str], levels: Mapping[int, int]) -> tuple[str, dict[int, int]]:
    """The text with these headings (in capitals) on lines of their own, set apart, and the new numbers of lines with a level."""
    lines, moved = list[str](), dict[int, int]()
    for number, line in enumerate(text.splitlines(), 1):
        found = read_inline_heading(line) if number not in levels else None
        if found is not None and found[0].upper() in names:
            lines += ["", f"{found[0]}:", "", found[1]]
            continue
        lines.append(line)
        if number in levels:
            moved[len(lines)] = levels[number]
    return "\n".join(lines), moved

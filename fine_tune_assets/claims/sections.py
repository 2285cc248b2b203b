"""Splits a report's text into sections by its heading lines.

Owns what a heading is: a line of its own that is named by a task (with a colon, or with a capital letter in it), or that
is written in capitals; and how a recipe names one: by its text, by several texts, or by a regular expression between slashes.
"chief complaint" alone on a line is no heading: it is how a record names the section it is about. Does not know what a
section is used for.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from fine_tune_assets.recipes.schema import Heading

# Letters in capitals and the signs that join them: no digits, so that "BP 120" is no heading; no brackets, so that a
# line which holds nothing but a scrubbed [NAME] is none either.
_CAPITALS = re.compile(r"[A-Z][A-Z &/,()'-]{2,60}")


@dataclass(frozen=True)
class Section:
    heading: str
    """In capitals, without a colon."""
    text: str
    """Without the heading line and without blank lines around it; may be empty."""


def normal_heading(line: str) -> str:
    """A heading as it is compared: capitals, single spaces, no colon at the end."""
    return " ".join(line.split()).removesuffix(":").rstrip().upper()


def headings_of(heading: Heading) -> tuple[str, ...]:
    """Every way in which a recipe's heading may be written."""
    return (heading,) if isinstance(heading, str) else heading


def shown_heading(heading: Heading, found: str) -> str:
    """How it is written into an input: in the recipe's first way, so that one task always looks the same."""
    first = headings_of(heading)[0]
    return found if _pattern(first) else first


def find_section(sections: Mapping[str, str], heading: Heading) -> tuple[str, str] | None:
    """Heading and text of the section that a recipe means: by its first way of writing that the report has."""
    for written in headings_of(heading):
        pattern = _pattern(written)
        if pattern is None and normal_heading(written) in sections:
            return normal_heading(written), sections[normal_heading(written)]
        found = next((name for name in sections if pattern is not None and pattern.fullmatch(name)), None)
        if found is not None:
            return found, sections[found]
    return None


@cache
def _pattern(heading: str) -> re.Pattern[str] | None:
    is_pattern = len(heading) > 2 and heading.startswith("/") and heading.endswith("/")
    return re.compile(heading[1:-1], re.IGNORECASE) if is_pattern else None


def split_sections(text: str, named: Iterable[str] = ()) -> list[Section]:
    """Sections in their order; text before the first heading has the heading "". A section ends at the next heading.

    >>> split_sections("PLAN:\\nRest.\\n\\nASSESSMENT\\nSprain.")
    [Section(heading='PLAN', text='Rest.'), Section(heading='ASSESSMENT', text='Sprain.')]
    """
    names = list(named)
    known = {normal_heading(name) for name in names if _pattern(name) is None}
    patterns = [pattern for name in names if (pattern := _pattern(name)) is not None]
    sections: list[Section] = []
    heading, lines = "", list[str]()
    for line in text.splitlines():
        if _is_heading(line, known, patterns):
            sections.append(Section(heading, "\n".join(lines).strip()))
            heading, lines = normal_heading(line), []
        else:
            lines.append(line)
    sections.append(Section(heading, "\n".join(lines).strip()))
    return [section for section in sections if section.heading or section.text]


def section_texts(text: str, named: Iterable[str] = ()) -> dict[str, str]:
    """Heading → text of every section that is not empty. A heading that occurs twice holds both texts."""
    found: dict[str, list[str]] = {}
    for section in split_sections(text, named):
        if section.text:
            found.setdefault(section.heading, []).append(section.text)
    return {heading: "\n\n".join(texts) for heading, texts in found.items()}


def _is_heading(line: str, known: set[str], patterns: Sequence[re.Pattern[str]]) -> bool:
    written = line.strip()
    name = normal_heading(line)
    is_named = name in known or (name and any(pattern.fullmatch(name) for pattern in patterns))
    if is_named and not (written.islower() and not written.endswith(":")):
        return True
    return bool(_CAPITALS.fullmatch(written.removesuffix(":").rstrip()))

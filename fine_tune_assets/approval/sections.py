"""Splits a report's text into sections by its heading lines.

Owns what a heading is: a line of its own that is named by a task (with a colon, or with a capital letter in it), or that
is written in capitals. "chief complaint" alone on a line is no heading: it is how a record names the section it is about.
Does not know what a section is used for.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

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


def split_sections(text: str, named: Iterable[str] = ()) -> list[Section]:
    """Sections in their order; text before the first heading has the heading "". A section ends at the next heading.

    >>> split_sections("PLAN:\\nRest.\\n\\nASSESSMENT\\nSprain.")
    [Section(heading='PLAN', text='Rest.'), Section(heading='ASSESSMENT', text='Sprain.')]
    """
    known = {normal_heading(name) for name in named}
    sections: list[Section] = []
    heading, lines = "", list[str]()
    for line in text.splitlines():
        if _is_heading(line, known):
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


def _is_heading(line: str, known: set[str]) -> bool:
    written = line.strip()
    if normal_heading(line) in known and not (written.islower() and not written.endswith(":")):
        return True
    return bool(_CAPITALS.fullmatch(written.removesuffix(":").rstrip()))

"""Splits a report's text into sections by its heading lines.

Owns what a heading is: a line of its own that is named by a task (with a colon, or with a capital letter in it), that is a
known section name in capitals (`reference/section_names.txt`), or that is in capitals and has the form of a heading. The last
kind is not certain. `NKDA` alone on a line is text. Owns also how a recipe names a heading: by its text, by several texts, or by
a regular expression between slashes. Does not know what a section is used for.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from fine_tune_assets.core.word_lists import pack_lists
from fine_tune_assets.recipes.schema import Heading

# Letters in capitals and the signs that join them: no digits, so that "BP 120" is no heading; no brackets, so that a
# line which holds nothing but a scrubbed [NAME] is none either.
_CAPITALS = re.compile(r"[A-Z][A-Z &/,()'-]{2,60}")
_WORD = re.compile(r"[A-Z]{3,}")
_WITHIN_A_LINE = re.compile(r"\s*([A-Z][A-Z &/,()'-]{2,60}):\s*\S")


@dataclass(frozen=True)
class Section:
    heading: str
    """In capitals, without a colon."""
    text: str
    """Without the heading line and without blank lines around it; may be empty."""
    is_sure: bool = True
    """False where only the form of the line says that it is a heading: its text may belong to the section before."""


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


def means(heading: Heading, name: str) -> bool:
    """Whether a recipe's heading means the section of this name."""
    return any(
        pattern.fullmatch(name) is not None if (pattern := _pattern(written)) else normal_heading(written) == name
        for written in headings_of(heading)
        if name
    )


def find_section(sections: Mapping[str, str], heading: Heading) -> tuple[str, str] | None:
    """Heading and text of the section that a recipe means. Where a report writes the heading in several ways, the texts of
    all of them, in the report's order, under the first name."""
    names = [name for name in sections if means(heading, name)]
    return (names[0], "\n\n".join(sections[name] for name in names)) if names else None


@cache
def _pattern(heading: str) -> re.Pattern[str] | None:
    is_pattern = len(heading) > 2 and heading.startswith("/") and heading.endswith("/")
    return re.compile(heading[1:-1], re.IGNORECASE) if is_pattern else None


@cache
def section_names() -> frozenset[str]:
    """The known names of sections, in capitals."""
    return frozenset(pack_lists("section_names")[""])


def split_sections(text: str, named: Iterable[str] = ()) -> list[Section]:
    """Sections in their order; text before the first heading has the heading "". A section ends at the next heading.

    >>> split_sections("PLAN:\\nRest.\\n\\nASSESSMENT\\nSprain.")
    [Section(heading='PLAN', text='Rest.', is_sure=True), Section(heading='ASSESSMENT', text='Sprain.', is_sure=True)]
    """
    sections = [Section(part.heading, part.text, part.is_sure) for part in _parts(text, list(named))]
    return [section for section in sections if section.heading or section.text]


def section_texts(text: str, named: Iterable[str] = ()) -> dict[str, str]:
    """Heading → text of every section that is not empty. A heading that occurs twice holds both texts."""
    return texts_of(split_sections(text, named))


def texts_of(sections: Iterable[Section]) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    for section in sections:
        if section.text:
            found.setdefault(section.heading, []).append(section.text)
    return {heading: "\n\n".join(texts) for heading, texts in found.items()}


def words_cut_off(sections: Iterable[Section], headings: Sequence[Heading]) -> int:
    """Words that may belong to the sections that the headings mean: they follow one of these, under lines of which only the
    form says that they are headings."""
    cut, is_meant = 0, False
    for section in sections:
        if section.is_sure:
            is_meant = any(means(heading, section.heading) for heading in headings)
        elif is_meant:
            cut += len(section.heading.split()) + len(section.text.split())
    return cut


def headings_within_a_line(text: str, named: Iterable[str]) -> set[str]:
    """The named headings that are followed by text on the same line, in capitals, as in `PLAN: rest`. They start no
    section, so what they name is not found."""
    known = {normal_heading(name) for name in named if _pattern(name) is None}
    found = (match for line in text.splitlines() if (match := _WITHIN_A_LINE.match(line)) is not None)
    return {normal_heading(match[1]) for match in found} & known


@dataclass
class _Part:
    heading: str
    is_sure: bool
    needs_text: bool
    """Whether the heading line is one only if there is text under it."""
    lines: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "\n".join(self.lines).strip()


def _parts(text: str, named: Sequence[str]) -> list[_Part]:
    """A line with nothing under it that only might be a heading is text of the section before: a record's `Chief Complaint`
    under NOTE SECTION, a closing line in capitals."""
    lines = text.splitlines()
    known = {normal_heading(name) for name in named if _pattern(name) is None}
    patterns = [pattern for name in named if (pattern := _pattern(name)) is not None]
    found = [(_Part("", True, False), "")]
    for at, line in enumerate(lines):
        part = _named(line, known, patterns) or _by_form(lines, at)
        if part is None:
            found[-1][0].lines.append(line)
        else:
            found.append((part, line))
    kept: list[_Part] = []
    for part, line in found:
        if part.needs_text and not part.text:
            kept[-1].lines += [line, *part.lines]
        else:
            kept.append(part)
    return kept


def _named(line: str, known: set[str], patterns: Sequence[re.Pattern[str]]) -> _Part | None:
    written, name = line.strip(), normal_heading(line)
    is_capital = _CAPITALS.fullmatch(written.removesuffix(":").rstrip()) is not None
    if name in known or (name and any(pattern.fullmatch(name) for pattern in patterns)):
        # "chief complaint" alone on a line is how a record names the section that it is about.
        is_plain = written.islower() and not written.endswith(":")
        return None if is_plain else _Part(name, is_sure=True, needs_text=not (is_capital or written.endswith(":")))
    return _Part(name, is_sure=True, needs_text=False) if is_capital and name in section_names() else None


def _by_form(lines: Sequence[str], at: int) -> _Part | None:
    """In capitals, and set apart from the text before: two words or more after a blank line or with a colon; a single word only
    with a colon and a blank line on both sides, since NKDA, EKG and other abbreviations occupy lines too."""
    written = lines[at].strip()
    if _CAPITALS.fullmatch(written.removesuffix(":").rstrip()) is None:
        return None
    has_colon = written.endswith(":")
    is_after_blank = at == 0 or not lines[at - 1].strip()
    is_before_blank = at + 1 < len(lines) and not lines[at + 1].strip()
    several = len(_WORD.findall(written)) > 1
    is_heading = (has_colon or is_after_blank) if several else (has_colon and is_after_blank and is_before_blank)
    # A list such as "TSH, FBC," is none.
    is_heading = is_heading and not written.endswith(",")
    return _Part(normal_heading(written), is_sure=False, needs_text=True) if is_heading else None

"""Splits a report's text into sections at its heading lines.

A heading is a separate line that a task names (with a colon or a capital letter), that is a known section name in capitals
(`section_names.txt` of the domain pack), or that is in capitals and looks like a heading. The last kind is uncertain. `NKDA`
alone on a line is text. A recipe names a heading by its text, by several texts, or by a regular expression between slashes.

With the layout of a report, a section also ends at a heading style of its level or above, at a line of the same form as its own
heading, and at a line that the source repeats. A heading of a deeper level or plainer form stays in the text of the section.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache

from fine_tune_assets.claims.heading_forms import (
    MAX_HEADING_CHARACTERS,
    HeadingForm,
    clean_heading,
    is_underline,
    read_form,
)
from fine_tune_assets.claims.inline_headings import read_inline_heading
from fine_tune_assets.claims.repeated_lines import normalize_line
from fine_tune_assets.recipes.schema import Heading

# Capitals and the characters that join them. No digits, so that "BP 120" is not a heading; no brackets, so that a
# line with only a scrubbed [NAME] is not one either.
_CAPITALS = re.compile(r"[A-Z][A-Z &/,()'-]{2,60}")
_WORD = re.compile(r"[A-Z]{3,}")


_MAX_STYLED_WORDS = 12
"""Words of a heading style that are certainly a heading: some documents have whole sentences in one."""
DEEPEST_STYLE = 9
"""Level of the deepest heading style. The levels below it are those of bold lines."""


class Evidence(StrEnum):
    """Why a line is a heading."""

    NAMED = "named by the recipe"
    KNOWN = "section name of the domain"
    CAPITALS = "line in capitals"
    STYLE = "heading style"
    FORM = "written like the heading before it"
    NUMBER = "next number"
    REPEATED = "repeated in the source"


@dataclass(frozen=True)
class Layout:
    """What is known about the headings of a report besides its text."""

    levels: Mapping[int, int] = field(default_factory=dict)
    """Number of a line, from 1 → its level, as the format of the report states it."""
    repeated: Collection[str] = frozenset()
    """Lines that many reports of the source repeat, as `repeated_lines` finds them."""


@dataclass(frozen=True)
class Section:
    heading: str
    """In capitals, without a colon."""
    text: str
    """Without the heading line and surrounding blank lines; may be empty."""
    is_certain: bool = True
    """False if only the line's form suggests a heading: its text may belong to the previous section."""
    evidence: Evidence = field(default=Evidence.NAMED, compare=False, repr=False)
    inner_headings: tuple[str, ...] = field(default=(), compare=False, repr=False)
    """Lines of the text that have a heading style or are repeated, but do not end the section."""


def normalize_heading(line: str) -> str:
    """A heading in the form used for comparison: capitals, single spaces, no trailing colon."""
    return " ".join(line.split()).removesuffix(":").rstrip().upper()


def list_heading_variants(heading: Heading) -> tuple[str, ...]:
    """All spellings of a recipe's heading."""
    return (heading,) if isinstance(heading, str) else heading


def format_heading(heading: Heading, found: str) -> str:
    """The heading as written into an input: the recipe's first spelling, so that inputs of a task are uniform."""
    first = list_heading_variants(heading)[0]
    return found if _compile_heading(first) else first


def matches_heading(heading: Heading, name: str) -> bool:
    """Whether a recipe's heading refers to the section with this name."""
    return any(
        pattern.fullmatch(name) is not None
        if (pattern := _compile_heading(written))
        else normalize_heading(written) == name
        for written in list_heading_variants(heading)
        if name
    )


def find_section(sections: Mapping[str, str], heading: Heading) -> tuple[str, str] | None:
    """Heading and text of the section that a recipe names.

    If a report uses several spellings of the heading, their texts are joined in order under the first name.
    """
    names = [name for name in sections if matches_heading(heading, name)]
    return (names[0], "\n\n".join(sections[name] for name in names)) if names else None


@cache
def _compile_heading(heading: str) -> re.Pattern[str] | None:
    is_pattern = len(heading) > 2 and heading.startswith("/") and heading.endswith("/")
    return re.compile(heading[1:-1], re.IGNORECASE) if is_pattern else None


def split_sections(
    text: str, headings: Iterable[str], section_names: Collection[str], layout: Layout | None = None
) -> list[Section]:
    """Sections in order; text before the first heading has the heading "". A section ends at the next heading.

    `headings` are those that a recipe names, `section_names` the known ones of its domain, in capitals. `layout` is that of a
    report; without it, as for an answer, form and repetition count for nothing.

    >>> split_sections("PLAN:\\nRest.\\n\\nASSESSMENT\\nSprain.", ["Plan"], {"ASSESSMENT"})
    [Section(heading='PLAN', text='Rest.', is_certain=True), Section(heading='ASSESSMENT', text='Sprain.', is_certain=True)]
    """
    sections = [
        Section(part.heading, part.text, part.is_certain, part.evidence, tuple(part.inner_headings))
        for part in _split_raw_sections(text, list(headings), section_names, layout)
    ]
    return [section for section in sections if section.heading or section.text]


def extract_section_texts(text: str, headings: Iterable[str], section_names: Collection[str]) -> dict[str, str]:
    """Heading → text of each section that is not empty. A repeated heading contains all its texts."""
    return join_section_texts(split_sections(text, headings, section_names))


def join_section_texts(sections: Iterable[Section]) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    for section in sections:
        if section.text:
            found.setdefault(section.heading, []).append(section.text)
    return {heading: "\n\n".join(texts) for heading, texts in found.items()}


def count_cut_off_words(sections: Iterable[Section], headings: Sequence[Heading]) -> int:
    """Words that may belong to the sections that `headings` refer to.

    They follow such a section, under lines that only look like headings.
    """
    cut, is_meant = 0, False
    for section in sections:
        if section.is_certain:
            is_meant = any(matches_heading(heading, section.heading) for heading in headings)
        elif is_meant:
            cut += len(section.heading.split()) + len(section.text.split())
    return cut


def find_inline_headings(text: str, headings: Iterable[str]) -> set[str]:
    """Named headings that are followed by text on the same line, as in `PLAN: rest`.

    Without `inline_headings` of a task, they do not start a section, so their text is not found.
    """
    known = {normalize_heading(name) for name in headings if _compile_heading(name) is None}
    found = (one for line in text.splitlines() if (one := read_inline_heading(line)) is not None)
    return {normalize_heading(heading) for heading, _ in found} & known


@dataclass
class _RawSection:
    heading: str
    is_certain: bool
    needs_text: bool
    """Whether the line is a heading only if text follows it."""
    evidence: Evidence = Evidence.NAMED
    level: int | None = None
    """Level of its heading style."""
    form: HeadingForm | None = None
    inner_headings: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "\n".join(self.lines).strip()


def _split_raw_sections(
    text: str, named: Sequence[str], section_names: Collection[str], layout: Layout | None
) -> list[_RawSection]:
    """Split at certain and uncertain headings.

    An uncertain heading without text belongs to the previous section: a `Chief Complaint` field under NOTE SECTION, or a closing
    line in capitals.
    """
    lines = text.splitlines()
    known = {normalize_heading(name) for name in named if _compile_heading(name) is None}
    patterns = [pattern for name in named if (pattern := _compile_heading(name)) is not None]
    found = [(_RawSection("", True, False), "")]
    for at, line in enumerate(lines):
        current = found[-1][0]
        if layout is None:
            part = _match_known_heading(line, known, patterns, section_names) or _match_heading_form(lines, at)
        elif is_underline(line) and not current.lines and current.form is not None and current.form.is_underlined:
            continue
        else:
            part = _match_in_layout(lines, at, current, known, patterns, section_names, layout)
        if part is None:
            current.lines.append(line)
        else:
            found.append((part, line))
    sections: list[_RawSection] = []
    for part, line in found:
        if part.needs_text and not part.text:
            sections[-1].lines += [line, *part.lines]
            sections[-1].inner_headings += part.inner_headings
        else:
            sections.append(part)
    return sections


def _match_known_heading(
    line: str, known: set[str], patterns: Sequence[re.Pattern[str]], section_names: Collection[str]
) -> _RawSection | None:
    written, name = line.strip(), normalize_heading(line)
    is_capital = _CAPITALS.fullmatch(written.removesuffix(":").rstrip()) is not None
    if name in known or (name and any(pattern.fullmatch(name) for pattern in patterns)):
        # "chief complaint" alone on a line is how a record names its section.
        is_plain = written.islower() and not written.endswith(":")
        return (
            None
            if is_plain
            else _RawSection(name, is_certain=True, needs_text=not (is_capital or written.endswith(":")))
        )
    if is_capital and name in section_names:
        return _RawSection(name, is_certain=True, needs_text=False, evidence=Evidence.KNOWN)
    return None


def _match_in_layout(
    lines: Sequence[str],
    at: int,
    current: _RawSection,
    known: set[str],
    patterns: Sequence[re.Pattern[str]],
    section_names: Collection[str],
    layout: Layout,
) -> _RawSection | None:
    """Match a line of a report, whose section so far is `current`."""
    line = lines[at]
    level = layout.levels.get(at + 1) if len(line.strip()) <= MAX_HEADING_CHARACTERS else None
    is_styled = level is not None and level <= DEEPEST_STYLE
    form = read_form(lines, at, is_bold=level is not None and not is_styled)
    part = _match_known_heading(line, known, patterns, section_names)
    cleaned = clean_heading(line)
    if part is None and cleaned != line.strip().removesuffix(":").rstrip() and (is_styled or form is not None):
        colon = ":" if line.rstrip("*_ ").endswith(":") else ""
        part = _match_known_heading(f"{cleaned}{colon}", known, patterns, section_names)
    if part is None and is_styled and normalize_heading(cleaned) in known:
        part = _RawSection(normalize_heading(cleaned), is_certain=True, needs_text=False)  # in lower case
    if part is not None and is_styled:
        part.needs_text = False
    if part is None and level is not None and is_styled:
        part = _match_style(cleaned, level, current)
    elif part is None:
        part = _match_layout_form(form, cleaned, current, layout) or _match_heading_form(lines, at)
    if part is None and cleaned and (is_styled or (form is not None and normalize_line(line) in layout.repeated)):
        current.inner_headings.append(cleaned)
    if part is not None:
        part.level, part.form = level if is_styled else None, form
    return part


def _match_style(cleaned: str, level: int, current: _RawSection) -> _RawSection | None:
    """A heading style ends a section of its level or below, and one whose heading has no style."""
    if current.level is not None and level > current.level:
        return None
    name, words = normalize_heading(cleaned), len(cleaned.split())
    if not name:
        return None
    is_certain = words <= _MAX_STYLED_WORDS and not cleaned.endswith((".", ";"))
    return _RawSection(name, is_certain, needs_text=not is_certain, evidence=Evidence.STYLE)


def _match_layout_form(
    form: HeadingForm | None, cleaned: str, current: _RawSection, layout: Layout
) -> _RawSection | None:
    """Match a line by its likeness to the heading of the current section, and by repetition.

    Certain are the next number, and a line that is both alike and repeated. A section with a heading style ends at styles alone.
    """
    if form is None or current.form is None or current.level is not None:
        return None
    is_repeated = normalize_line(cleaned) in layout.repeated
    is_alike, is_next = current.form.is_like(form), current.form.is_followed_by(form)
    if is_alike:
        evidence = Evidence.NUMBER if is_next else Evidence.REPEATED if is_repeated else Evidence.FORM
    elif is_repeated and form.is_at_least(current.form):
        evidence = Evidence.REPEATED
    else:
        return None
    if evidence is Evidence.FORM and form.case == "capitals":
        return None  # NKDA: the rule of lines in capitals decides
    is_certain = is_alike and (is_next or is_repeated)
    return _RawSection(normalize_heading(cleaned), is_certain, needs_text=not is_certain, evidence=evidence)


def _match_heading_form(lines: Sequence[str], at: int) -> _RawSection | None:
    """Match a line that only looks like a heading: in capitals and set apart from the previous text.

    Two or more words need a blank line before them or a colon. A single word needs a colon and blank lines on both sides, because
    NKDA, EKG and other abbreviations also occupy lines.
    """
    written = lines[at].strip()
    if _CAPITALS.fullmatch(written.removesuffix(":").rstrip()) is None:
        return None
    has_colon = written.endswith(":")
    is_after_blank = at == 0 or not lines[at - 1].strip()
    is_before_blank = at + 1 < len(lines) and not lines[at + 1].strip()
    several = len(_WORD.findall(written)) > 1
    is_heading = (has_colon or is_after_blank) if several else (has_colon and is_after_blank and is_before_blank)
    # A list such as "TSH, FBC," is not a heading.
    is_heading = is_heading and not written.endswith(",")
    if not is_heading:
        return None
    return _RawSection(normalize_heading(written), is_certain=False, needs_text=True, evidence=Evidence.CAPITALS)

"""The form of a line that may be a heading: numbered, with a colon, in capitals, marked up, underlined, set apart.

A document writes its section headings alike. Only a line of the same form as the heading of a section can be the next heading;
one of a plainer form is a heading within the section, or text.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from fine_tune_assets.core.bounded_patterns import compile_bounded

MAX_HEADING_CHARACTERS = 150
"""A longer line is text, even with a heading style."""
_MAX_CHARACTERS, _MAX_WORDS = 80, 10
_MARKUP = re.compile(r"(#{1,6}) |(\*\*|__)(?=\S)")
_NUMBER = compile_bounded(
    r"(?:(?:section|part|chapter|article|appendix|annex) |§ ?)?"
    r"(?:(\d{1,3}(?:\.\d{1,3}){0,4})[.):]?|([IVXLC]{1,7}|[A-Za-z])[.):]) +(?=\S)",
    re.IGNORECASE,
)
_UNDERLINE = re.compile(r"[=\-_~*]{3,}")
_LETTER = re.compile(r"[^\W\d_]")
_ROMAN = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100}


@dataclass(frozen=True)
class HeadingForm:
    number: tuple[int, ...]
    """3.1 is (3, 1); empty for a line without a number."""
    has_colon: bool
    case: str
    """`capitals`, `mixed` or `lower`."""
    markup: str
    """`bold`, `#`, `##` and so on, or empty."""
    is_underlined: bool
    is_first: bool
    """Whether it is the first line of the text, which nothing can be before."""
    is_after_blank: bool
    is_before_blank: bool

    def is_like(self, other: "HeadingForm") -> bool:
        """Whether a document that writes one heading like this writes the next one like `other`."""
        if self.number:
            return self.is_followed_by(other)
        if self._look != other._look or other.number:
            return False
        # Bold letters and underlines set a heading off without blank lines.
        is_set_off = bool(self.markup) or self.is_underlined
        return is_set_off or (self.has_colon == other.has_colon and self._is_spaced_like(other))

    def is_followed_by(self, other: "HeadingForm") -> bool:
        """Whether `other` has the next number, on the same level or above: 4 or 3.2 after 3.1."""
        level = len(other.number)
        if not 0 < level <= len(self.number):
            return False
        *above, last = self.number[:level]
        return self._look == other._look and other.number == (*above, last + 1)

    def is_at_least(self, other: "HeadingForm") -> bool:
        """Whether this line is set off as clearly as `other` or more clearly."""
        return (
            (self.case == "capitals" or other.case != "capitals")
            and (bool(self.number) or not other.number)
            and (bool(self.markup) or not other.markup)
            and (self.is_underlined or not other.is_underlined)
            and (self.is_after_blank or other.is_first or not other.is_after_blank)
            and (self.is_before_blank or not other.is_before_blank)
        )

    @property
    def _look(self) -> tuple[object, ...]:
        return self.case, self.markup, self.is_underlined

    def _is_spaced_like(self, other: "HeadingForm") -> bool:
        is_after_alike = self.is_first or self.is_after_blank == other.is_after_blank
        return is_after_alike and self.is_before_blank == other.is_before_blank


def clean_heading(line: str) -> str:
    """The line without markup, number and trailing colon.

    >>> clean_heading("## 3.1 Roof:")
    'Roof'
    """
    return _split_line(line)[2].removesuffix(":").rstrip()


def read_form(lines: Sequence[str], at: int, *, is_bold: bool = False) -> HeadingForm | None:
    """The form of line `at`; None if it can't be a heading by its form, such as a sentence, an item or a row of a table."""
    line = lines[at].strip()
    if not line or len(line) > _MAX_CHARACTERS:
        return None
    markup, number, text = _split_line(line)
    if not _may_be_heading(text):
        return None
    before, after = (lines[i].strip() if 0 <= i < len(lines) else "" for i in (at - 1, at + 1))
    is_underlined = _UNDERLINE.fullmatch(after) is not None
    below = lines[at + 2].strip() if is_underlined and at + 2 < len(lines) else after
    letters = text.removesuffix(":")
    case = "capitals" if letters.isupper() else "mixed" if letters[0].isupper() else "lower"
    form = HeadingForm(
        number, text.endswith(":"), case, "bold" if is_bold else markup, is_underlined, at == 0, not before, not below
    )
    is_plain = not (form.number or form.has_colon or form.markup or form.is_underlined)
    return None if is_plain and (case == "lower" or not form.is_after_blank) else form


def is_underline(line: str) -> bool:
    return _UNDERLINE.fullmatch(line.strip()) is not None


def _may_be_heading(text: str) -> bool:
    return (
        bool(text)
        and text[0].isalpha()
        and len(text.split()) <= _MAX_WORDS
        and not text.endswith((".", "!", "?", ";", ","))
        and not any(sign in text for sign in ("|", "\t", ": "))
        and _LETTER.search(text) is not None
    )


def _split_line(line: str) -> tuple[str, tuple[int, ...], str]:
    """Markup, number and text of a line."""
    text, markup = line.strip(), ""
    found = _MARKUP.match(text)
    if found is not None and found[1]:
        markup, text = found[1], text[found.end() :].strip().rstrip("#").rstrip()
    elif found is not None and text.rstrip(":").endswith(found[2]) and len(text) > 2 * len(found[2]):
        colon = ":" if text.endswith(":") else ""
        markup, text = "bold", text.rstrip(":").removeprefix(found[2]).removesuffix(found[2]).strip() + colon
    number = _NUMBER.match(text)
    if number is None:
        return markup, (), text
    return markup, _read_number(number[1], number[2]), text[number.end() :]


def _read_number(digits: str | None, letters: str | None) -> tuple[int, ...]:
    if digits:
        return tuple(map(int, digits.split(".")))
    written = str(letters).upper()
    if set(written) <= set(_ROMAN) and (len(written) > 1 or written in "IVX"):
        values = [_ROMAN[letter] for letter in written]
        return (sum(-one if one < nxt else one for one, nxt in zip(values, [*values[1:], 0], strict=True)),)
    return (ord(written) - ord("A") + 1,) if len(written) == 1 else ()

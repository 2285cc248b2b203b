"""Normalizes white space, invisible characters, ligatures and hyphens, and decodes the Symbol font.

Names set with an "fi" ligature or a non-breaking hyphen would otherwise not be found. The table is Adobe's Symbol encoding
without the pieces of large brackets.
"""

import re

from fine_tune_assets.reports.heading_marks import remove_marks

_UNCHANGED = "0123456789 .,%+()/<=>:;[]{}|&!?#_"
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_GREEK = "ΑΒΧΔΕΦΓΗΙϑΚΛΜΝΟΠΘΡΣΤΥςΩΞΨΖαβχδεφγηιϕκλμνοπθρστυϖωξψζ"
_SIGNS = {
    0x2D: "−", 0xA2: "′", 0xA3: "≤", 0xA4: "/", 0xA5: "∞", 0xAB: "↔", 0xAC: "←", 0xAD: "↑", 0xAE: "→", 0xAF: "↓", 0xB0: "°",
    0xB1: "±", 0xB2: "″", 0xB3: "≥", 0xB4: "×", 0xB5: "∝", 0xB7: "•", 0xB8: "÷", 0xB9: "≠", 0xBA: "≡", 0xBB: "≈", 0xBC: "…",
    0xC6: "∅", 0xD7: "⋅", 0xD8: "¬", 0xDB: "⇔", 0xDC: "⇐", 0xDD: "⇑", 0xDE: "⇒", 0xDF: "⇓", 0xE5: "∑",
}  # fmt: skip
SYMBOL_FONT = {**{ord(c): c for c in _UNCHANGED}, **dict(zip(map(ord, _LETTERS), _GREEK, strict=True)), **_SIGNS}
"""Font code → character."""
_PRIVATE_USE_OFFSET = 0xF000
"""Offset of symbol font codes in Unicode's private use area."""
_CODES = re.compile("[\uf020-\uf0ff]")


def decode_symbol_font(text: str) -> str:
    """Replace Symbol font codes by their characters; unknown codes stay."""
    return _CODES.sub(lambda match: SYMBOL_FONT.get(ord(match.group()) - _PRIVATE_USE_OFFSET, match.group()), text)


_INVISIBLE = re.compile("[\x00-\x08\x0e-\x10\x13-\x1f\x7f\u00ad\ufeff\u200b\u2060\ufffe\uffff\ufffc]")
_BREAKS = re.compile("\r\n?|[\x0b\x0c\u2028\u2029]")
_SPACES = re.compile("[\u00a0\u2000-\u200a\u202f]")
# Not NFKC, which would turn 10⁹ into 109.
_TYPOGRAPHIC_FORMS = str.maketrans(
    {"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st", "\u2010": "-", "\u2011": "-"}
)


def normalize_layout(text: str) -> str:
    """As `normalize_marked`, without marks."""
    return normalize_marked(remove_marks(text))


def normalize_marked(text: str) -> str:
    """Normalize line ends to `\\n`, strip trailing blanks, allow one blank line in a row, and keep the marks of headings."""
    plain = _SPACES.sub(" ", _INVISIBLE.sub("", _BREAKS.sub("\n", decode_symbol_font(text)))).translate(
        _TYPOGRAPHIC_FORMS
    )
    lines = [line.rstrip() for line in plain.split("\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n")


def collapse_whitespace(text: str) -> str:
    return " ".join(text.split())

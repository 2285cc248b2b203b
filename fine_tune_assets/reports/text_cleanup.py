"""The text that a layout leaves: white space without what only the layout needed, and signs of the font Symbol as characters.

Nothing changes but white space, invisible characters, and typographic forms of letters and hyphens: a name that is set with a
joined "fi" or a hyphen that does not break would not be found. The table is Adobe's encoding of Symbol, without the pieces of
large brackets.
"""

import re

_SAME = "0123456789 .,%+()/<=>:;[]{}|&!?#_"
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_GREEK = "ΑΒΧΔΕΦΓΗΙϑΚΛΜΝΟΠΘΡΣΤΥςΩΞΨΖαβχδεφγηιϕκλμνοπθρστυϖωξψζ"
_SIGNS = {
    0x2D: "−", 0xA2: "′", 0xA3: "≤", 0xA4: "/", 0xA5: "∞", 0xAB: "↔", 0xAC: "←", 0xAD: "↑", 0xAE: "→", 0xAF: "↓", 0xB0: "°",
    0xB1: "±", 0xB2: "″", 0xB3: "≥", 0xB4: "×", 0xB5: "∝", 0xB7: "•", 0xB8: "÷", 0xB9: "≠", 0xBA: "≡", 0xBB: "≈", 0xBC: "…",
    0xC6: "∅", 0xD7: "⋅", 0xD8: "¬", 0xDB: "⇔", 0xDC: "⇐", 0xDD: "⇑", 0xDE: "⇒", 0xDF: "⇓", 0xE5: "∑",
}  # fmt: skip
SYMBOLS = {**{ord(c): c for c in _SAME}, **dict(zip(map(ord, _LETTERS), _GREEK, strict=True)), **_SIGNS}
"""Code in the font → character."""
_PRIVATE = 0xF000
"""Where the codes of such fonts stand in Unicode."""
_CODES = re.compile("[\uf020-\uf0ff]")


def plain_symbols(text: str) -> str:
    """The text with each code of the font as its character; what the table does not know stays."""
    return _CODES.sub(lambda match: SYMBOLS.get(ord(match.group()) - _PRIVATE, match.group()), text)


_UNSEEN = re.compile("[\x00-\x08\x0e-\x1f\x7f\u00ad\ufeff\u200b\u2060\ufffe\uffff\ufffc]")
_BREAKS = re.compile("\r\n?|[\x0b\x0c\u2028\u2029]")
_SPACES = re.compile("[\u00a0\u2000-\u200a\u202f]")
# Not by Unicode's form NFKC, which would make 109 of 10⁹.
_FORMS = str.maketrans(
    {"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st", "\u2010": "-", "\u2011": "-"}
)


def tidy(text: str) -> str:
    """Line ends as `\\n`, no blanks at the end of a line, at most one blank line in a row."""
    plain = _SPACES.sub(" ", _UNSEEN.sub("", _BREAKS.sub("\n", plain_symbols(text)))).translate(_FORMS)
    lines = [line.rstrip() for line in plain.split("\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n")


def one_line(text: str) -> str:
    """The text with every run of white space as one blank."""
    return " ".join(text.split())

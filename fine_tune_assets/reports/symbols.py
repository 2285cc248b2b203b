"""Signs of the font Symbol as the characters that people see: Word and others write ± or ≤ as a code that only this font shows.

Owns the table (Adobe's encoding of Symbol, without the pieces of large brackets). Does not know where the codes come from.
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

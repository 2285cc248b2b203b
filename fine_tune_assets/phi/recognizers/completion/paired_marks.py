"""Adds the other half of a bracket or quotation mark to a finding that contains one half: `Pamplona (Navarra)`.

Single quotation marks are left out, because an apostrophe looks the same.
"""

from fine_tune_assets.phi.spans.spans import Offsets

_BRACKETS = (("(", ")"), ("[", "]"), ("“", "”"), ("„", "“"), ("«", "»"))
_QUOTE = '"'


def complete_marks(text: str, start: int, end: int) -> Offsets:
    """Offsets of a finding with the mark next to it that closes or opens one inside it."""
    value, before, after = text[start:end], text[start - 1 : start], text[end : end + 1]
    for opening, closing in _BRACKETS:
        missing = value.count(opening) - value.count(closing)
        if missing > 0 and after == closing:
            return start, end + 1
        if missing < 0 and before == opening:
            return start - 1, end
    if value.count(_QUOTE) % 2 and _QUOTE in (before, after):
        return (start - 1, end) if before == _QUOTE else (start, end + 1)
    return start, end

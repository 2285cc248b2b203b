"""The white space of a text that comes from a layout: the same lines, without what only the layout needed.

Owns that nothing but white space, characters that nobody sees and typographic forms of letters and hyphens is changed: a name
that is set with a joined "fi" or a hyphen that does not break would not be found by whoever looks for it.
"""

import re

from fine_tune_assets.reports.symbols import plain_symbols

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

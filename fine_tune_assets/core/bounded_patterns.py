"""Compiles regular expressions whose repeats have an upper bound, so that a search takes time in proportion to the text.

A pattern such as `\\s*:` reads a run of n blanks from each of its n positions. With a bound, each position costs at most
that many steps. Repeats that overlap (`(?:a+)+`) need atomic groups or possessive quantifiers as well. A test measures each
pattern.
"""

import re
from functools import lru_cache

MAX_REPEATS = 64
"""Longer than any word, gap or list of names in the labelled reports."""
_TOKEN = re.compile(
    r"\\.|\[\^?\]?(?:\\.|[^\]\\])*+\]|\(\?(?:P?[<=!:>]|P=|[a-zA-Z-]+[:)])?|(?P<open>\{(?P<low>\d*),\})|(?P<repeat>[*+])(?P<kind>[?+]?)|[{?}][?+]?|.",
    re.DOTALL,
)


def compile_bounded(pattern: str, flags: int = 0, repeats: int = MAX_REPEATS) -> re.Pattern[str]:
    """As `re.compile`, with `{0,repeats}` in place of `*`, `{1,repeats}` of `+`, and `{n,n+repeats}` of `{n,}`."""
    return re.compile(bound_repeats(pattern, repeats), flags)


@lru_cache(maxsize=4096)
def bound_repeats(pattern: str, repeats: int = MAX_REPEATS) -> str:
    return _TOKEN.sub(lambda token: _bound(token, repeats), pattern)


def _bound(token: re.Match[str], repeats: int) -> str:
    if token["repeat"]:
        return f"{{{'0' if token['repeat'] == '*' else '1'},{repeats}}}{token['kind']}"
    if token["open"]:
        low = int(token["low"] or 0)
        return f"{{{low},{low + repeats}}}"
    return token[0]

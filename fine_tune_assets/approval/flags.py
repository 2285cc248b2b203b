"""What a reviewer is warned of: the kinds of flag, how one is written, and which part of an output it is about.

Owns the form `kind: detail`. Does not know how a fault is found.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Final, get_args

from fine_tune_assets.claims.dialogues import sentence_bounds
from fine_tune_assets.recipes.schema import FlagKind

FLAG_KINDS: Final[tuple[str, ...]] = get_args(FlagKind)
ABOUT_THE_WHOLE: Final = frozenset({"contradiction", "label noise", "may be cut short", "drafted by a model"})
"""Kinds whose detail quotes nothing: the whole output is what they are about."""

_JOINED_BEFORE = re.compile(r"(?:[\w.]|\d,)\Z")


def flag(kind: FlagKind, detail: str) -> str:
    return f"{kind}: {detail}"


def kind_of(flag: str) -> str:
    return flag.partition(": ")[0]


def kinds_of(flags: Iterable[str]) -> list[str]:
    """The kinds of some flags, each once, in the order of FLAG_KINDS. They hold no report text."""
    present = {kind_of(flag) for flag in flags}
    return [kind for kind in FLAG_KINDS if kind in present]


def flag_spans(output: str, flags: Sequence[str]) -> list[tuple[int, int, str]]:
    """Start, end and kind of what each flag is about in `output`, sorted. All of it when the flag quotes nothing of it.

    >>> flag_spans("Take 80 mg.", ["number not in input: 80 mg"])
    [(5, 10, 'number not in input')]
    """
    spans: set[tuple[int, int, str]] = set()
    for flag in flags:
        kind, _, detail = flag.partition(": ")
        places = [] if kind in ABOUT_THE_WHOLE else _places(output, detail)
        spans |= {(start, end, kind) for start, end in places or [(0, len(output))]}
    return sorted(spans)


def sentence_spans(output: str, spans: Sequence[tuple[int, int, str]]) -> list[tuple[int, int]]:
    """Start and end of each sentence in which something of it is flagged: a phrase alone does not say what is wrong with it.

    >>> sentence_spans("No fever. Take 80 mg.", [(15, 20, "number not in input")])
    [(10, 21)]
    """
    found = []
    for start, end in sentence_bounds(output):
        first = start + len(output[start:end]) - len(output[start:end].lstrip())
        last = first + len(output[first:end].rstrip())
        if any(begins < last and first < ends for begins, ends, _ in spans):
            found.append((first, last))
    return found


def _places(output: str, detail: str) -> list[tuple[int, int]]:
    words = detail.split()
    if not words:
        return []
    # White space may be folded in a detail; 80 is not a part of 180, and 5 none of 5.5.
    written = r"\s+".join(re.escape(word) for word in words)
    # What stands before is looked at afterwards: a pattern that begins with a word is found 20 times as fast.
    pattern = re.compile(rf"{written}(?!\w)(?!\.\d)")
    found: list[tuple[int, int]] = []
    at = 0
    while match := pattern.search(output, at):
        start, end = match.span()
        is_part = _JOINED_BEFORE.search(output[max(0, start - 2) : start]) is not None
        at = start + 1 if is_part else end
        found += [] if is_part else [(start, end)]
    return found

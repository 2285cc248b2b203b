"""Defines the kinds of flag, their form `kind: detail`, and the part of an output that a flag concerns."""

import re
from collections.abc import Iterable, Sequence
from typing import Final, get_args

from fine_tune_assets.claims.dialogues import iter_sentence_bounds
from fine_tune_assets.recipes.schema import FlagKind

FLAG_KINDS: Final[tuple[str, ...]] = get_args(FlagKind)
WHOLE_OUTPUT_KINDS: Final = frozenset({"contradiction", "label noise", "possibly truncated", "model-written"})
"""Kinds whose detail quotes nothing: they concern the whole output."""

_TOKEN_CONTINUES = re.compile(r"(?:[\w.]|\d,)\Z")


def format_flag(kind: FlagKind, detail: str) -> str:
    return f"{kind}: {detail}"


def flag_kind(flag: str) -> str:
    return flag.partition(": ")[0]


def distinct_kinds(flags: Iterable[str]) -> list[str]:
    """Distinct kinds of some flags, in the order of FLAG_KINDS. Contains no report text."""
    present = {flag_kind(flag) for flag in flags}
    return [kind for kind in FLAG_KINDS if kind in present]


def flag_spans(output: str, flags: Sequence[str]) -> list[tuple[int, int, str]]:
    """Start, end and kind of each flagged part of `output`, sorted. The whole output if a flag quotes none of it.

    >>> flag_spans("Take 80 mg.", ["number not in input: 80 mg"])
    [(5, 10, 'number not in input')]
    """
    spans: set[tuple[int, int, str]] = set()
    for flag in flags:
        kind, _, detail = flag.partition(": ")
        places = [] if kind in WHOLE_OUTPUT_KINDS else _find_quotes(output, detail)
        spans |= {(start, end, kind) for start, end in places or [(0, len(output))]}
    return sorted(spans)


def sentence_spans(output: str, spans: Sequence[tuple[int, int, str]]) -> list[tuple[int, int]]:
    """Start and end of each sentence with a flagged part, because a phrase alone does not show what is wrong.

    >>> sentence_spans("No fever. Take 80 mg.", [(15, 20, "number not in input")])
    [(10, 21)]
    """
    found = []
    for start, end in iter_sentence_bounds(output):
        first = start + len(output[start:end]) - len(output[start:end].lstrip())
        last = first + len(output[first:end].rstrip())
        if any(begins < last and first < ends for begins, ends, _ in spans):
            found.append((first, last))
    return found


def _find_quotes(output: str, detail: str) -> list[tuple[int, int]]:
    words = detail.split()
    if not words:
        return []
    # The detail may have folded white space; 80 must not match in 180, nor 5 in 5.5.
    written = r"\s+".join(re.escape(word) for word in words)
    # Check the preceding character afterwards: a pattern that begins with a word runs 20 times as fast.
    pattern = re.compile(rf"{written}(?!\w)(?!\.\d)")
    found: list[tuple[int, int]] = []
    at = 0
    while match := pattern.search(output, at):
        start, end = match.span()
        is_part = _TOKEN_CONTINUES.search(output[max(0, start - 2) : start]) is not None
        at = start + 1 if is_part else end
        found += [] if is_part else [(start, end)]
    return found

"""Finds a side in an output that its input does not say: the left knee, where only the right one was spoken of.

Owns what is a side and which body site it belongs to. "Right." and "all right" are no side.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from fine_tune_assets.core.word_lists import pack_lists

_SITES = pack_lists("sides")["sites"]
_SITE_OF = {form: site for site in _SITES for form in (site, site + "s")} | {"feet": "foot", "extremities": "extremity"}
_SIDES = {
    "left": "left", "lt": "left", "left-sided": "left", "right": "right", "rt": "right", "right-sided": "right",
    "bilateral": "both", "bilaterally": "both", "both": "both",
}  # fmt: skip
_WORD = re.compile(r"[A-Za-z]+(?:-sided)?|[.?!;:\n]")
_NOT_A_SIDE = re.compile(
    r"\b(?:all|that's|that is|you're|is that|yeah|yes|okay|ok|oh|am i|mm-hm|hm|so|just)[,.]?\s+right\b(?!\s+(?:side|\w+\s+side))"
    r"|\bright\s*(?:now|away|after|before|here|there|off|at|when|then|up|in front|\?|,|\.\.\.)"
    r"|(?:^|[.?!:\]]\s*)right[.,?!]"
    r"|\b(?:be|is|are|was|been|has|have|had|he|she|i|we|they|you|pills|refills)\s+left\b(?!\s+(?:\w+\s+){0,2}(?:side|"
    + "|".join(_SITE_OF)
    + r"))|\bleft\s+(?:over|the|my|her|his|for|it|work|home|me|untreated|in)\b",
    re.IGNORECASE | re.MULTILINE,
)
_REACH = 4
"""Words behind a side among which its site is looked for: the right lower medial thigh."""


@dataclass(frozen=True)
class Side:
    side: str
    site: str | None
    written: str


def unsupported_sides(output: str, input_text: str) -> list[str]:
    """Sides of `output`, as they stand there with their site, that the input does not say; each once.

    >>> unsupported_sides("Pain in the left knee.", "My right knee hurts.")
    ['left knee']
    """
    return unsaid_sides(sides_in(output), sides_in(input_text))


def unsaid_sides(sides: Sequence[Side], held: Sequence[Side]) -> list[str]:
    """Those of `sides`, as they stand, that none of `held` says; each once."""
    found: dict[str, None] = {}
    for side in sides:
        same_site = [other.side for other in held if side.site and other.site == side.site]
        # A site whose side the input never says can be meant by any side that it says: "it's the right one".
        if not _is_said(side.side, same_site or [other.side for other in held]):
            found.setdefault(side.written)
    return list(found)


def _is_said(side: str, said: list[str]) -> bool:
    if side == "both":
        return "both" in said or {"left", "right"} <= set(said)
    return side in said or "both" in said


def sides_in(text: str) -> list[Side]:
    plain = _NOT_A_SIDE.sub(lambda match: re.sub(r"[A-Za-z]", "_", match.group()), text)
    words = list(_WORD.finditer(plain))
    found = []
    for at, match in enumerate(words):
        side = _SIDES.get(match.group().lower())
        if side is None:
            continue
        site = _site_behind(words[at + 1 : at + 1 + _REACH])
        if site is None and match.group().lower() == "both":  # "both of them" is no place of the body
            continue
        end = site.end() if site else match.end()
        name = _SITE_OF[site.group().lower()] if site else None
        found.append(Side(side, None if name == "side" else name, " ".join(text[match.start() : end].split())))
    return found


def _site_behind(words: list[re.Match[str]]) -> re.Match[str] | None:
    for match in words:
        if not match.group()[0].isalpha() or match.group().lower() in _SIDES:
            return None
        if match.group().lower() in _SITE_OF:
            return match
    return None

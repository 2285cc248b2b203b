"""Finds sides in an output that its input does not support, such as the left knee instead of the right.

"Right." and "all right" do not count as sides.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from fine_tune_assets.claims.clinical_lists import clinical_lists

_SITES = clinical_lists("sides")["sites"]
_SITE_BY_FORM = {form: site for site in _SITES for form in (site, site + "s")} | {
    "feet": "foot",
    "extremities": "extremity",
}
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
    + "|".join(_SITE_BY_FORM)
    + r"))|\bleft\s+(?:over|the|my|her|his|for|it|work|home|me|untreated|in)\b",
    re.IGNORECASE | re.MULTILINE,
)
_MAX_DISTANCE_WORDS = 4
"""Maximum words from a side to its body site: the right lower medial thigh."""


@dataclass(frozen=True)
class Side:
    side: str
    site: str | None
    written: str


def find_unsupported_sides(output: str, input_text: str) -> list[str]:
    """Sides in `output`, as written there with their body site, that the input does not support; without repeats.

    >>> find_unsupported_sides("Pain in the left knee.", "My right knee hurts.")
    ['left knee']
    """
    return find_missing_sides(extract_sides(output), extract_sides(input_text))


def find_missing_sides(sides: Sequence[Side], stated: Sequence[Side]) -> list[str]:
    """Sides, as written, that no entry of `stated` supports; without repeats."""
    found: dict[str, None] = {}
    for side in sides:
        same_site = [other.side for other in stated if side.site and other.site == side.site]
        # If the input states no side for this site, any side in it counts: "it's the right one".
        if not _is_stated(side.side, same_site or [other.side for other in stated]):
            found.setdefault(side.written)
    return list(found)


def _is_stated(side: str, stated_sides: list[str]) -> bool:
    if side == "both":
        return "both" in stated_sides or {"left", "right"} <= set(stated_sides)
    return side in stated_sides or "both" in stated_sides


def extract_sides(text: str) -> list[Side]:
    plain = _NOT_A_SIDE.sub(lambda match: re.sub(r"[A-Za-z]", "_", match.group()), text)
    words = list(_WORD.finditer(plain))
    found = []
    for at, match in enumerate(words):
        side = _SIDES.get(match.group().lower())
        if side is None:
            continue
        site = _find_site_after(words[at + 1 : at + 1 + _MAX_DISTANCE_WORDS])
        if site is None and match.group().lower() == "both":  # "both of them" is not a body site
            continue
        end = site.end() if site else match.end()
        name = _SITE_BY_FORM[site.group().lower()] if site else None
        found.append(Side(side, None if name == "side" else name, " ".join(text[match.start() : end].split())))
    return found


def _find_site_after(words: list[re.Match[str]]) -> re.Match[str] | None:
    for match in words:
        if not match.group()[0].isalpha() or match.group().lower() in _SIDES:
            return None
        if match.group().lower() in _SITE_BY_FORM:
            return match
    return None

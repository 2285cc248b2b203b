"""What a rule is: a regular expression that finds one kind of identifier by its form or by the words before it.

Owns how rules are written. A pattern's group `value`, if it has one, is what is removed; what stands around it is
context.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Rule:
    name: str
    label: str
    pattern: re.Pattern[str]
    score: float
    """How often what it finds is an identifier, by eye over the development sets: .9 nearly always, .5 every second time."""
    group: int | str
    """The group that is removed."""
    lead: re.Pattern[str] | None = None
    """What the text directly before the finding must end in; it is looked at only there, so it may be a long list of words."""


def rule(
    name: str, label: str, pattern: str, score: float, flags: re.RegexFlag = re.IGNORECASE, lead: str | None = None
) -> Rule:
    """`lead`, in any case of letters, stands before the pattern."""
    compiled = re.compile(pattern, flags | re.VERBOSE)
    before = re.compile(rf"(?:{lead})\Z", re.IGNORECASE | re.VERBOSE) if lead else None
    return Rule(name, label, compiled, score, "value" if "value" in compiled.groupindex else 0, before)


def any_of(words: Iterable[str]) -> str:
    """One of the words, with either case of their first letter. By that letter, since most of a text begins none of them."""
    groups: dict[str, list[str]] = {}
    for word in sorted(words, key=len, reverse=True):
        groups.setdefault(word[0].lower(), []).append(word[1:].replace(" ", "[ ]"))
    by_letter = (f"[{a}{a.upper()}](?:{'|'.join(rest)})" for a, rest in sorted(groups.items()))
    return rf"(?<!\w)(?:{'|'.join(by_letter)})"

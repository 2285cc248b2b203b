"""A rule: a regular expression that finds one kind of identifier by its form or by the words before it.

If a pattern has a group `value`, only that group is removed; the rest is context.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from fine_tune_assets.core.bounded_patterns import compile_bounded


@dataclass(frozen=True)
class Rule:
    name: str
    label: str
    pattern: re.Pattern[str]
    score: float
    """Estimated precision, by eye on the development sets: 0.9 nearly always right, 0.5 half of the time."""
    group: int | str
    """The group that is removed."""
    context_before: re.Pattern[str] | None = None
    """The text directly before a match must end in this. It runs only there, so it may be a long word list."""
    checksum: Callable[[str], bool] | None = None
    """Whether the check digits of a value are valid."""


def build_rule(
    name: str,
    label: str,
    pattern: str,
    score: float,
    flags: re.RegexFlag = re.IGNORECASE,
    context_before: str | None = None,
) -> Rule:
    """Compile a rule. `context_before` ignores case."""
    compiled = compile_bounded(pattern, flags | re.VERBOSE)
    before = compile_bounded(rf"(?:{context_before})\Z", re.IGNORECASE | re.VERBOSE) if context_before else None
    return Rule(name, label, compiled, score, "value" if "value" in compiled.groupindex else 0, before)


def any_of(words: Iterable[str]) -> str:
    """Any of the words, with either case of the first letter. Grouped by that letter, so that most positions fail fast."""
    groups: dict[str, list[str]] = {}
    for word in sorted(words, key=len, reverse=True):
        groups.setdefault(word[0].lower(), []).append(word[1:].replace(" ", "[ ]"))
    by_letter = (f"[{a}{a.upper()}](?:{'|'.join(rest)})" for a, rest in sorted(groups.items()))
    return rf"(?<!\w)(?:{'|'.join(by_letter)})"

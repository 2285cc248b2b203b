"""What would catch a missed identifier: the list, kept value or recognizer to change, for people. See miss_causes.py."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby

from fine_tune_assets.phi.measurement.miss_causes import MissCause
from fine_tune_assets.phi.measurement.recall import GoldDocument

_PACK_GUIDE, _MARK_GUIDE = "how-to/add-a-domain.md", "how-to/mark-missed-phi.md"
_DELIVER = "Identifiers that a report's metadata states are always removed, so deliver it there."
_MIN_DIGITS, _MAX_CHARACTERS = 3, 40
_SPECIAL = re.compile(r"[.^$*+?{}\[\]\\|()]")
_CLASSES = (("digit", r"\d"), ("upper", "[A-Z]"), ("lower", "[a-z]"))


@dataclass(frozen=True)
class Advice:
    explanation: str
    remedy: str
    guide: str
    """Page of the documentation."""


_ADVICE: Mapping[MissCause, Advice] = {
    MissCause.NOT_SCRUBBED: Advice(
        "The text took too much time or memory.", "Split the document, then measure again.", _MARK_GUIDE
    ),
    MissCause.ORDINARY_REST: Advice(
        "The identifier was removed; only ordinary words or punctuation of the label remain.",
        "Check the label: it may be too long.",
        _PACK_GUIDE,
    ),
    MissCause.KEPT_VALUE: Advice(
        "`kept_values` keeps it, as {rule}.", "Narrow the pattern of {rule} in `pack.yaml`.", _PACK_GUIDE
    ),
    MissCause.KEPT_DATE: Advice(
        "The pack replaces personal dates only, and no word of `personal_date_words` precedes this one.",
        "Add the words before it to `personal_date_words` in `pack.yaml`, or set `dates: all`.",
        _PACK_GUIDE,
    ),
    MissCause.PROTECTED_WORD: Advice(
        "Each of its words is in `protected_words.txt` or is an ordinary word.",
        f"Remove the word from `protected_words.txt` if it is a name here. {_DELIVER}",
        _PACK_GUIDE,
    ),
    MissCause.ORDINARY_WORD: Advice(
        "{rule} finds it, but words of `ordinary_words.txt` are trimmed from names.",
        f"Remove the word from `ordinary_words.txt` of the pack. {_DELIVER}",
        _PACK_GUIDE,
    ),
    MissCause.DROPPED: Advice(
        "{rule} finds it, but a later step drops it as a heading, term or measurement, or as part of another finding.",
        f"Add a recognizer for {{kind}} with `context` to `pack.yaml`. {_DELIVER}",
        _PACK_GUIDE,
    ),
    MissCause.LOW_SCORE: Advice(
        "{rule} finds it with a score below `scrub.minimum_score`.",
        "Raise the `score` of {rule}, or lower `scrub.minimum_score` of the recipe.",
        _PACK_GUIDE,
    ),
    MissCause.WRONG_CHECKSUM: Advice(
        "It has the form of {rule}, but wrong check digits.",
        "Add a recognizer for {kind} without `checksum` and with `context` to `pack.yaml`.",
        _PACK_GUIDE,
    ),
    MissCause.NO_CONTEXT: Advice(
        "It has the form of {rule}, but none of the words that must precede it.",
        "Add the words before it to `context` of {rule}.",
        _PACK_GUIDE,
    ),
    MissCause.NO_FORM: Advice(
        "No recognizer for {kind} has this form, and the tagger did not find it.",
        f"Add a recognizer for {{kind}} to `identifiers` in `pack.yaml`. {_DELIVER}",
        _PACK_GUIDE,
    ),
    MissCause.NO_RULE: Advice(
        "The pack has no rule for {kind}.", "Add {kind} with a recognizer to `identifiers` in `pack.yaml`.", _PACK_GUIDE
    ),
}
_SHARED_RULE = (
    "{rule} is a rule of every domain. Add a recognizer for {kind} with these words as `context` to `pack.yaml`."
)


def advise(cause: str, kind: str, rule: str | None, own_rules: Iterable[str]) -> Advice:
    """`own_rules`: names of the pack's recognizers and kept values, which a pack can change."""
    one = _ADVICE[MissCause(cause)]
    is_shared = cause == MissCause.NO_CONTEXT and rule not in set(own_rules)
    remedy = _SHARED_RULE if is_shared else one.remedy
    named = {"kind": kind, "rule": f"`{rule}`"}
    return Advice(one.explanation.format(**named), remedy.format(**named), one.guide)


@dataclass(frozen=True)
class PatternProposal:
    """A regular expression of the form of a missed identifier, and what it would find in the labelled reports."""

    pattern: str
    labelled_matches: int
    documents: int


def propose_pattern(value: str, documents: Iterable[GoldDocument]) -> PatternProposal | None:
    """None unless the form is distinctive: it has digits, and finds nothing but labelled identifiers in all documents."""
    pattern = describe_form(value)
    if pattern is None:
        return None
    compiled, count, labelled = re.compile(pattern), 0, 0
    for count, document in enumerate(documents, start=1):  # noqa: B007
        for match in compiled.finditer(document.text):
            if not any(span.start <= match.start() and match.end() <= span.end for span in document.spans):
                return None
            labelled += 1
    return PatternProposal(pattern, labelled, count)


def describe_form(value: str) -> str | None:
    r"""Runs of digits and letters with their lengths; None for a text without a clear form.

    >>> describe_form("DM-2291/b")
    '(?<![\\w-])[A-Z]{2}-\\d{4}/[a-z]{1}(?![\\w-])'
    """
    words = value.strip()
    if sum(c.isdigit() for c in words) < _MIN_DIGITS or len(words) > _MAX_CHARACTERS or not words.isascii():
        return None
    parts = [_describe_run(name, "".join(run)) for name, run in groupby(words, key=_class_of)]
    return rf"(?<![\w-]){''.join(parts)}(?![\w-])"


def _class_of(character: str) -> str:
    return next((name for name, _ in _CLASSES if getattr(character, f"is{name}")()), "")


def _describe_run(name: str, run: str) -> str:
    return f"{dict(_CLASSES)[name]}{{{len(run)}}}" if name else _SPECIAL.sub(r"\\\g<0>", run)

"""Finds findings that an output negates and its input asserts, or the other way round.

Owns the scope of a cue: it negates what follows it up to the end of the clause (the words are `negation_words`');
and which mention of the input an output's mention is compared with. A question asserts nothing, its answer does. Knows no finding
that is not listed.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from fine_tune_assets.claims.dialogues import Sentence, sentences_in
from fine_tune_assets.claims.negation_words import (
    AND_ENDS,
    CLAUSE_ENDS,
    CUES,
    CUES_BESIDE,
    DOUBTS,
    ENDS,
    EVER_BEFORE,
    FAMILY,
    FINDING_OF,
    GIVEN,
    HALVES,
    IN_THE_FAMILY,
    LONGEST_FORM,
    NEGATED_BEHIND,
    NEGATED_FORMS,
    NEVER_A_CUE,
    NEXT_OF_CUE,
    NO_CUES,
    OTHERS,
    SITE_OF,
    TELLS,
    stem,
)

State = Literal["negated", "asserted", "open"]
SCOPE_WORDS = 10
"""Words from a cue, or from the last finding that it negates, to the next one: a list can go on for long."""
NEAR_WORDS = 8
"""Words on each side that tell which of several mentions is meant. 5 to 12 find the same on the half used for tuning."""
SHORT_WORDS = 30
"""A sentence up to which "in your family" is about all of it; in a transcript without full stops it is not."""
_SITE_BEFORE, _SITE_BEHIND = 3, 5
_OTHER_WORDS, _GIVEN_WORDS = 2, 1
_TOKEN = re.compile(r"(?P<word>n't|w/o|r/o|[A-Za-z]+(?:'[A-Za-z]+)?)|(?P<end>[.;!?\n:|])")


@dataclass(frozen=True)
class Finding:
    name: str
    state: State
    written: str
    """From the cue on, as it stands there."""
    near: Mapping[str, int]
    """Stem of each word around it → how many words behind it stands, or before with a minus."""
    sites: frozenset[str]
    """Body sites right beside it."""
    is_given: bool = False
    """Whether it is taken for granted there, so that no negation is of it."""


@dataclass(frozen=True)
class _Word:
    text: str
    """In lower case; empty where a clause ends."""
    start: int
    end: int


@dataclass
class _Scope:
    """What the words up to here say about the next finding."""

    cue: int | None = None
    """Place of the cue among the words."""
    words_since: int = 0
    is_doubted: bool = False
    is_family: bool = False
    other_at: int | None = None
    given_at: int | None = None

    @property
    def is_negated(self) -> bool:
        return self.cue is not None and self.words_since < SCOPE_WORDS

    def read(self, words: Sequence[_Word], at: int) -> None:
        word, following = words[at].text, words[at + 1].text if at + 1 < len(words) else ""
        self.is_family |= word in FAMILY and following not in TELLS
        self.other_at = at if word in OTHERS else self.other_at
        if word in GIVEN and not (word == "for" and at and words[at - 1].text in ("negative", "positive")):
            self.given_at = at
        if _is_cue(words, at):
            self.cue, self.words_since, self.is_doubted = at, 0, False
        elif not word or word in ENDS or (word == "and" and following in AND_ENDS):
            self.cue, self.is_doubted = None, word in DOUBTS
        elif word in DOUBTS:
            self.is_doubted = True
        elif word in CLAUSE_ENDS and self.cue != at - 1 and words[at - 1].text not in ("or", "nor"):
            self.cue = None
        else:
            self.words_since += 1


def unsupported_negations(output: str, input_text: str) -> list[str]:
    """What `output` negates where `input_text` asserts it, or the other way round, as it stands; each once.

    >>> unsupported_negations("Denies chest pain.", "The chest pain is worse.")
    ['Denies chest pain']
    """
    return turned_round(list(findings_in(output)), list(findings_in(input_text)))


def turned_round(findings: Sequence[Finding], others: Sequence[Finding]) -> list[str]:
    """Those of `findings` that are negated where `others` assert it, or the other way round, as they stand; each once."""
    held: dict[str, list[Finding]] = {}
    for other in others:
        held.setdefault(other.name, []).append(other)
    found: dict[str, None] = {}
    for finding in findings:
        opposite = {"negated": "asserted", "asserted": "negated"}.get(finding.state)
        states = {other.state for other in _closest(finding, held.get(finding.name, []))}
        if opposite in states and finding.state not in states:
            found.setdefault(finding.written)
    return list(found)


def _closest(finding: Finding, others: Sequence[Finding]) -> list[Finding]:
    """Mentions at the same site, or at none, in the words that are most like its own: which of several pains is meant."""
    of_site = [other for other in others if not (finding.sites and other.sites) or finding.sites & other.sites]
    likeness = [_likeness(finding, other) for other in of_site]
    return [other for other, like in zip(of_site, likeness, strict=True) if like == max(likeness)]


def _likeness(finding: Finding, other: Finding) -> float:
    """Shared words count the more, the closer they stand to both, and half if one has it before and one behind."""
    likeness = 0.0
    for word in sorted(finding.near.keys() & other.near.keys()):
        here, there = finding.near[word], other.near[word]
        likeness += (1 if (here < 0) == (there < 0) else 0.5) / (abs(here) + abs(there))
    return likeness


def findings_in(text: str) -> Iterator[Finding]:
    """Every mention of a finding, in its order; `open` where it is neither asserted nor negated.

    >>> [(finding.name, finding.state) for finding in findings_in("No chest pain or fever. Any cough? Yes.")]
    [('pain', 'negated'), ('fever', 'negated'), ('cough', 'asserted')]
    """
    plain = NEVER_A_CUE.sub(lambda match: " " * len(match.group()), text)
    for sentence in sentences_in(text):
        found = list(_of_sentence(text, plain, sentence))
        was_before = EVER_BEFORE.search(plain, sentence.start, sentence.end) is not None
        yield from _answered(found, sentence, was_before) if sentence.is_question else found


def _answered(found: Sequence[Finding], question: Sentence, was_before: bool) -> Iterator[Finding]:
    # A yes to several findings says that there is one of them.
    is_one = len({finding.name for finding in found}) == 1
    for finding in found:
        if finding.state == "negated":
            yield finding
        elif question.answer == "no":
            yield replace(finding, state="open" if finding.is_given or was_before else "negated")
        else:
            yield replace(finding, state="asserted" if question.answer == "yes" and is_one else "open")


def _of_sentence(text: str, plain: str, sentence: Sentence) -> Iterator[Finding]:
    words = [
        _Word(match.group().lower() if match["word"] else "", match.start(), match.end())
        for match in _TOKEN.finditer(plain, sentence.start, sentence.end)
    ]
    is_short = len(words) <= SHORT_WORDS
    scope = _Scope(is_family=is_short and bool(IN_THE_FAMILY.search(plain, sentence.start, sentence.end)))
    at = 0
    while at < len(words):
        size, name = _finding_at(words, at)
        if not size:
            scope.read(words, at)
            at += 1
            continue
        if scope.other_at is None or at - scope.other_at > _OTHER_WORDS:
            yield _finding(text, words, at, size, name, scope)
        scope.words_since = 0
        if scope.cue is not None and words[scope.cue].text == "non":
            scope.cue = None
        at += size


def _finding(text: str, words: Sequence[_Word], at: int, size: int, name: str, scope: _Scope) -> Finding:
    start, end = words[at].start, words[at + size - 1].end
    behind = NEGATED_BEHIND.match(text, end)
    state: State = "open" if scope.is_doubted or _is_heading(text, start, end) else "asserted"
    is_given = scope.given_at is not None and at - scope.given_at <= _GIVEN_WORDS
    if scope.is_negated or behind or words[at].text in NEGATED_FORMS:
        state = "open" if is_given else "negated"
    if scope.is_negated and scope.cue is not None:
        start = words[scope.cue].start
    elif behind:
        end = behind.end()
    written = " ".join(text[start:end].split())
    beside = [*words[max(0, at - _SITE_BEFORE) : at], *words[at + size : at + size + _SITE_BEHIND]]
    return Finding(
        f"{name} in the family" if scope.is_family else name,
        state,
        written,
        _near(words, at, size),
        frozenset(SITE_OF[word.text] for word in beside if word.text in SITE_OF),
        is_given,
    )


def _near(words: Sequence[_Word], at: int, size: int) -> dict[str, int]:
    near: dict[str, int] = {}
    for away in range(1, NEAR_WORDS + 1):
        for place, behind in ((at + size - 1 + away, away), (at - away, -away)):
            if 0 <= place < len(words) and (found := stem(words[place].text)):
                near.setdefault(found, behind)
    return near


def _is_heading(text: str, start: int, end: int) -> bool:
    is_line = text[end : end + 1] == "\n" and not text[:start].rpartition("\n")[2].strip()
    return text[end : end + 1] == ":" or (is_line and text[start:end].isupper())


def _finding_at(words: Sequence[_Word], at: int) -> tuple[int, str]:
    """How many words from here name a finding, and which; 0 if they name none."""
    if at >= len(words):
        return 0, ""
    for size in range(min(LONGEST_FORM.get(words[at].text, 0), len(words) - at), 0, -1):
        name = FINDING_OF.get(tuple(word.text for word in words[at : at + size]))
        if name:
            return size, name
    name = NEGATED_FORMS.get(words[at].text)
    return (1, name) if name else (0, "")


def _is_cue(words: Sequence[_Word], at: int) -> bool:
    word = words[at].text
    if word in NEXT_OF_CUE and at + 1 < len(words) and words[at + 1].text in NEXT_OF_CUE[word]:
        return True
    if word in CUES_BESIDE:
        return _finding_at(words, at + 1)[0] > 0
    if word == "n't":
        return at > 0 and words[at - 1].text not in HALVES
    return word in CUES or (word.endswith("n't") and word not in NO_CUES)

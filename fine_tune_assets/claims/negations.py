"""Finds findings that an output negates and its input asserts, or vice versa.

A cue negates what follows it up to the end of the clause (`negation_words` lists the cues). Each mention in the output is
compared with the most similar mention in the input. A question asserts nothing, its answer does. Covers listed findings only.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from fine_tune_assets.claims.dialogues import Sentence, iter_sentences
from fine_tune_assets.claims.negation_words import (
    ADJACENT_CUES,
    CLAUSE_TERMINATORS,
    CONJUNCTION_TERMINATORS,
    CONTRACTION_STEMS,
    CUE_FOLLOWERS,
    CUES,
    FAMILY_HISTORY,
    FINDING_BY_FORM,
    LONGEST_FORM_WORDS,
    NEGATED_FORMS,
    OTHER_WORDS,
    PAST_REFERENCE,
    POST_NEGATION,
    PRESUPPOSITION_WORDS,
    PSEUDO_CUES,
    PSEUDO_NEGATION,
    RELATIVES,
    REPORTING_VERBS,
    SITE_BY_FORM,
    TERMINATORS,
    UNCERTAINTY_CUES,
    stem,
)

Polarity = Literal["negated", "asserted", "open"]
SCOPE_WORDS = 10
"""Maximum words from a cue, or the last finding that it negates, to the next finding, because lists can be long."""
CONTEXT_WORDS = 8
"""Words on each side that distinguish several mentions. Values from 5 to 12 gave the same result on the tuning half."""
MAX_FAMILY_SENTENCE_WORDS = 30
"""Longest sentence in which "in your family" applies to all of it; transcripts without full stops exceed it."""
_SITE_WORDS_BEFORE, _SITE_WORDS_AFTER = 3, 5
_OTHER_REACH_WORDS, _PRESUPPOSED_REACH_WORDS = 2, 1
_TOKEN = re.compile(r"(?P<word>n't|w/o|r/o|[A-Za-z]+(?:'[A-Za-z]+)?)|(?P<end>[.;!?\n:|])")


@dataclass(frozen=True)
class Finding:
    name: str
    polarity: Polarity
    written: str
    """The text from the cue on, as written."""
    context: Mapping[str, int]
    """Stem of each surrounding word → its distance in words, negative before the finding."""
    body_sites: frozenset[str]
    """Body sites next to it."""
    is_presupposed: bool = False
    """Whether the text takes the finding for granted, so that no negation applies to it."""


@dataclass(frozen=True)
class _Word:
    text: str
    """In lower case; empty at the end of a clause."""
    start: int
    end: int


@dataclass
class _Scope:
    """What the preceding words imply for the next finding."""

    cue_position: int | None = None
    """Index of the cue among the words."""
    words_since_cue: int = 0
    is_uncertain: bool = False
    is_family_history: bool = False
    other_position: int | None = None
    presupposition_position: int | None = None

    @property
    def is_negated(self) -> bool:
        return self.cue_position is not None and self.words_since_cue < SCOPE_WORDS

    def advance(self, words: Sequence[_Word], at: int) -> None:
        word, following = words[at].text, words[at + 1].text if at + 1 < len(words) else ""
        self.is_family_history |= word in RELATIVES and following not in REPORTING_VERBS
        self.other_position = at if word in OTHER_WORDS else self.other_position
        if word in PRESUPPOSITION_WORDS and not (
            word == "for" and at and words[at - 1].text in ("negative", "positive")
        ):
            self.presupposition_position = at
        if _is_cue(words, at):
            self.cue_position, self.words_since_cue, self.is_uncertain = at, 0, False
        elif not word or word in TERMINATORS or (word == "and" and following in CONJUNCTION_TERMINATORS):
            self.cue_position, self.is_uncertain = None, word in UNCERTAINTY_CUES
        elif word in UNCERTAINTY_CUES:
            self.is_uncertain = True
        elif word in CLAUSE_TERMINATORS and self.cue_position != at - 1 and words[at - 1].text not in ("or", "nor"):
            self.cue_position = None
        else:
            self.words_since_cue += 1


def find_unsupported_negations(output: str, input_text: str) -> list[str]:
    """Findings that `output` negates and `input_text` asserts, or vice versa, as written in `output`; without repeats.

    >>> find_unsupported_negations("Denies chest pain.", "The chest pain is worse.")
    ['Denies chest pain']
    """
    return find_reversed_findings(list(extract_findings(output)), list(extract_findings(input_text)))


def find_reversed_findings(findings: Sequence[Finding], others: Sequence[Finding]) -> list[str]:
    """Findings that are negated while `others` assert them, or vice versa, as written; without repeats."""
    held: dict[str, list[Finding]] = {}
    for other in others:
        held.setdefault(other.name, []).append(other)
    found: dict[str, None] = {}
    for finding in findings:
        opposite = {"negated": "asserted", "asserted": "negated"}.get(finding.polarity)
        states = {other.polarity for other in _find_closest_mentions(finding, held.get(finding.name, []))}
        if opposite in states and finding.polarity not in states:
            found.setdefault(finding.written)
    return list(found)


def _find_closest_mentions(finding: Finding, others: Sequence[Finding]) -> list[Finding]:
    """The mentions in the most similar context, at the same site or at none, to tell several pains apart."""
    of_site = [
        other
        for other in others
        if not (finding.body_sites and other.body_sites) or finding.body_sites & other.body_sites
    ]
    likeness = [_measure_similarity(finding, other) for other in of_site]
    return [other for other, like in zip(of_site, likeness, strict=True) if like == max(likeness)]


def _measure_similarity(finding: Finding, other: Finding) -> float:
    """Similarity of contexts: shared words weigh more the closer they are to both, and half if they are on different sides."""
    likeness = 0.0
    for word in sorted(finding.context.keys() & other.context.keys()):
        here, there = finding.context[word], other.context[word]
        likeness += (1 if (here < 0) == (there < 0) else 0.5) / (abs(here) + abs(there))
    return likeness


def extract_findings(text: str) -> Iterator[Finding]:
    """Every mention of a finding in order; `open` if it is neither asserted nor negated.

    >>> [(finding.name, finding.polarity) for finding in extract_findings("No chest pain or fever. Any cough? Yes.")]
    [('pain', 'negated'), ('fever', 'negated'), ('cough', 'asserted')]
    """
    plain = PSEUDO_NEGATION.sub(lambda match: " " * len(match.group()), text)
    for sentence in iter_sentences(text):
        found = list(_extract_from_sentence(text, plain, sentence))
        was_before = PAST_REFERENCE.search(plain, sentence.start, sentence.end) is not None
        yield from _apply_answer(found, sentence, was_before) if sentence.is_question else found


def _apply_answer(found: Sequence[Finding], question: Sentence, was_before: bool) -> Iterator[Finding]:
    # A yes to several findings asserts that at least one is present.
    is_one = len({finding.name for finding in found}) == 1
    for finding in found:
        if finding.polarity == "negated":
            yield finding
        elif question.answer == "no":
            yield replace(finding, polarity="open" if finding.is_presupposed or was_before else "negated")
        else:
            yield replace(finding, polarity="asserted" if question.answer == "yes" and is_one else "open")


def _extract_from_sentence(text: str, plain: str, sentence: Sentence) -> Iterator[Finding]:
    words = [
        _Word(match.group().lower() if match["word"] else "", match.start(), match.end())
        for match in _TOKEN.finditer(plain, sentence.start, sentence.end)
    ]
    is_short = len(words) <= MAX_FAMILY_SENTENCE_WORDS
    scope = _Scope(is_family_history=is_short and bool(FAMILY_HISTORY.search(plain, sentence.start, sentence.end)))
    at = 0
    while at < len(words):
        size, name = _match_finding(words, at)
        if not size:
            scope.advance(words, at)
            at += 1
            continue
        if scope.other_position is None or at - scope.other_position > _OTHER_REACH_WORDS:
            yield _make_finding(text, words, at, size, name, scope)
        scope.words_since_cue = 0
        if scope.cue_position is not None and words[scope.cue_position].text == "non":
            scope.cue_position = None
        at += size


def _make_finding(text: str, words: Sequence[_Word], at: int, size: int, name: str, scope: _Scope) -> Finding:
    start, end = words[at].start, words[at + size - 1].end
    post_negation = POST_NEGATION.match(text, end)
    polarity: Polarity = "open" if scope.is_uncertain or _is_heading(text, start, end) else "asserted"
    is_presupposed = (
        scope.presupposition_position is not None and at - scope.presupposition_position <= _PRESUPPOSED_REACH_WORDS
    )
    if scope.is_negated or post_negation or words[at].text in NEGATED_FORMS:
        polarity = "open" if is_presupposed else "negated"
    if scope.is_negated and scope.cue_position is not None:
        start = words[scope.cue_position].start
    elif post_negation:
        end = post_negation.end()
    written = " ".join(text[start:end].split())
    nearby = [*words[max(0, at - _SITE_WORDS_BEFORE) : at], *words[at + size : at + size + _SITE_WORDS_AFTER]]
    return Finding(
        f"{name} in the family" if scope.is_family_history else name,
        polarity,
        written,
        _collect_context(words, at, size),
        frozenset(SITE_BY_FORM[word.text] for word in nearby if word.text in SITE_BY_FORM),
        is_presupposed,
    )


def _collect_context(words: Sequence[_Word], at: int, size: int) -> dict[str, int]:
    near: dict[str, int] = {}
    for away in range(1, CONTEXT_WORDS + 1):
        for place, distance in ((at + size - 1 + away, away), (at - away, -away)):
            if 0 <= place < len(words) and (found := stem(words[place].text)):
                near.setdefault(found, distance)
    return near


def _is_heading(text: str, start: int, end: int) -> bool:
    is_line = text[end : end + 1] == "\n" and not text[:start].rpartition("\n")[2].strip()
    return text[end : end + 1] == ":" or (is_line and text[start:end].isupper())


def _match_finding(words: Sequence[_Word], at: int) -> tuple[int, str]:
    """Word count and name of the finding that starts here; 0 if none does."""
    if at >= len(words):
        return 0, ""
    for size in range(min(LONGEST_FORM_WORDS.get(words[at].text, 0), len(words) - at), 0, -1):
        name = FINDING_BY_FORM.get(tuple(word.text for word in words[at : at + size]))
        if name:
            return size, name
    name = NEGATED_FORMS.get(words[at].text)
    return (1, name) if name else (0, "")


def _is_cue(words: Sequence[_Word], at: int) -> bool:
    word = words[at].text
    if word in CUE_FOLLOWERS and at + 1 < len(words) and words[at + 1].text in CUE_FOLLOWERS[word]:
        return True
    if word in ADJACENT_CUES:
        return _match_finding(words, at + 1)[0] > 0
    if word == "n't":
        return at > 0 and words[at - 1].text not in CONTRACTION_STEMS
    return word in CUES or (word.endswith("n't") and word not in PSEUDO_CUES)

"""Plants errors into an installation's own approved answers, whatever they are about: one error per copy of an answer.

The words come from `own_error_words.txt` and from the answers themselves. A kind that the answers give no occasion for has no
cases. Every changed fact is stated by the record, so that the record shows the error. The choice is deterministic.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from random import Random
from typing import Final

from fine_tune_assets.core.fingerprints import fingerprint_text
from fine_tune_assets.core.word_lists import read_lists
from fine_tune_assets.judging.judges.answer_features import content_words, stem_words
from fine_tune_assets.judging.judges.grades import GradableAnswer
from fine_tune_assets.judging.judges.planted_errors.planted_error_set import ChangedAnswer
from fine_tune_assets.judging.judges.verifier.record_passages import split_statements

MAX_PER_KIND: Final = 30
NUMBER, EXCHANGE, NEGATION, TERM, FOREIGN = "number", "exchange", "negation", "term", "other_report"
_LISTS: Final = read_lists(Path(__file__).parent / "own_error_words.txt")
LISTED: Final = tuple(_LISTS)
KINDS: Final = (NUMBER, EXCHANGE, *LISTED, NEGATION, TERM, FOREIGN)
"""Every kind of error that can be planted."""
_NUMBER: Final = re.compile(
    r"(?<![\w.,/:-])\d{1,3}(?:,\d{3})+(?![\w,/:-]|\.\d)|(?<![\w.,/:-])\d+(?:\.\d+)?(?![\w/:-]|[.,]\d)"
)
_NOT: Final = re.compile(r"\b(?:not|never)\s+|\bno\s+(?=\w)", re.IGNORECASE)
_VERB: Final = re.compile(
    r"\b(?:is|are|was|were|has been|have been|will|must|should|can|could|may)\b(?!\s+(?:not|no|never|nothing)\b)",
    re.IGNORECASE,
)
_TERM: Final = re.compile(r"(?<![\w-])[A-Za-z][a-z]{4,}(?![\w-])")
_ENDINGS: Final = ("ing", "tion", "ed", "ly", "ies", "es", "s", "al", "ic", "er")
_COMMON_SHARE: Final = 0.5
"""Largest share of the subjects whose answers contain a term."""
_MIN_FOREIGN_WORDS: Final = 5


@dataclass(frozen=True)
class OwnExample:
    """An approved answer to a report, as a right answer."""

    subject: str
    """Cases of one subject are resampled together."""
    answered: GradableAnswer
    """The approved answer as `output`, without a reference to compare with."""


@dataclass(frozen=True)
class _Said:
    """One statement of an approved answer."""

    statement: str
    record: str
    terms: Mapping[str, tuple[str, ...]]
    """Ending and case of a word → terms of all answers with it."""


Plant = Callable[[_Said, Random], str | None]
"""Returns the statement with an error; None if nothing can be changed."""


def plant_own_errors(examples: Sequence[OwnExample]) -> list[ChangedAnswer]:
    """At most MAX_PER_KIND errors of each kind, spread over the subjects."""
    terms = _collect_terms(examples)
    foreign = [
        (example.subject, statement, frozenset(content_words(stem_words(statement))))
        for example in examples
        for statement in split_statements(example.answered.output)
        if len(statement.split()) >= _MIN_FOREIGN_WORDS
    ]
    cases = [case for example in examples for case in (*_plant(example, terms), *_add_foreign(example, foreign))]
    return [case for kind in KINDS for case in _choose([one for one in cases if one.kind == kind])]


def _choose(cases: Sequence[ChangedAnswer]) -> list[ChangedAnswer]:
    """One case of each subject in turn, until there are enough."""
    ordered = sorted(cases, key=lambda case: fingerprint_text(f"{case.before.output} {case.after.output}"))
    turns, seen = [], Counter[str]()
    for case in ordered:
        turns.append((seen[case.group], case))
        seen[case.group] += 1
    return [case for _, case in sorted(turns, key=lambda one: one[0])[:MAX_PER_KIND]]


def _plant(example: OwnExample, terms: Mapping[str, tuple[str, ...]]) -> Iterator[ChangedAnswer]:
    answer = example.answered.output
    for statement in dict.fromkeys(split_statements(answer)):
        said = _Said(statement, example.answered.input, terms)
        for kind, plant in _PLANTS.items():
            wrong = plant(said, Random(f"{kind} {statement}"))
            # A statement that the splitting changed is not in the answer.
            if wrong and wrong != statement and statement in answer:
                yield _changed(kind, example, answer.replace(statement, wrong, 1))


def _changed(kind: str, example: OwnExample, wrong: str) -> ChangedAnswer:
    return ChangedAnswer(kind, example.subject, example.answered, replace(example.answered, output=wrong))


def _other_number(said: _Said, random: Random) -> str | None:
    in_record = set(_NUMBER.findall(said.record))
    found = [match for match in _NUMBER.finditer(said.statement) if match[0] in in_record]
    return _replace_one(said.statement, found, lambda text: _near_number(text, in_record, random), random)


def _near_number(text: str, taken: set[str], random: Random) -> str:
    """Another number of the same form: one digit differs, never the first one to 0."""
    places = [at for at, letter in enumerate(text) if letter.isdigit()]
    options = [
        f"{text[:at]}{digit}{text[at + 1 :]}"
        for at in places
        for digit in "0123456789"
        if digit != text[at] and not (at == places[0] and digit == "0")
    ]
    free = [one for one in options if one not in taken]
    return random.choice(free or [f"1{text}"])


def _exchange_numbers(said: _Said, random: Random) -> str | None:
    """Two numbers of the statement change places."""
    found = list(_NUMBER.finditer(said.statement))
    pairs = [(a, b) for a in found for b in found if a.start() < b.start() and a[0] != b[0]]
    if not pairs:
        return None
    a, b = random.choice(pairs)
    text = said.statement
    return text[: a.start()] + b[0] + text[a.end() : b.start()] + a[0] + text[b.end() :]


def _exchange_listed(kind: str) -> Plant:
    def plant(said: _Said, random: Random) -> str | None:
        groups = _listed(kind)
        found = [match for match in _listed_pattern(kind).finditer(said.statement) if _states(said.record, match[0])]
        return _replace_one(
            said.statement, found, lambda text: _like(text, random.choice(groups[text.lower()])), random
        )

    return plant


def _turn_negation(said: _Said, random: Random) -> str | None:
    """The statement without its negation, or with one."""
    if negation := _NOT.search(said.statement):
        return said.statement[: negation.start()] + said.statement[negation.end() :]
    found = list(_VERB.finditer(said.statement))
    return _replace_one(said.statement, found, lambda text: f"{text} not", random)


def _other_term(said: _Said, random: Random) -> str | None:
    """A word that the record has becomes a word of another answer that the record lacks, in the same form."""
    known = set(stem_words(said.record))
    found = [
        match
        for match in _TERM.finditer(said.statement)
        if match[0] in said.terms.get(_form(match[0]), ()) and set(stem_words(match[0])) <= known
    ]

    def other(text: str) -> str:
        options = [word for word in said.terms[_form(text)] if not set(stem_words(word)) & known]
        return random.choice(options) if options else text

    return _replace_one(said.statement, found, other, random)


def _add_foreign(example: OwnExample, statements: Sequence[tuple[str, str, frozenset[str]]]) -> Iterator[ChangedAnswer]:
    """A statement of another subject's answer, of which the record lacks a content word, in front.

    `statements`: subject, text and content words of each statement.
    """
    own, known = example.answered.output, set(stem_words(example.answered.input))
    found = [text for subject, text, words in statements if subject != example.subject and words - known]
    if found:
        foreign = min(found, key=lambda statement: fingerprint_text(f"{own} {statement}"))
        yield _changed(FOREIGN, example, f"{foreign.rstrip('.; ')}. {own}")


_PLANTS: Final[Mapping[str, Plant]] = {
    NUMBER: _other_number,
    EXCHANGE: _exchange_numbers,
    **{kind: _exchange_listed(kind) for kind in LISTED},
    NEGATION: _turn_negation,
    TERM: _other_term,
}


def _replace_one(text: str, found: Sequence[re.Match[str]], other: Callable[[str], str], random: Random) -> str | None:
    if not found:
        return None
    match = random.choice(found)
    return text[: match.start()] + other(match[0]) + text[match.end() :]


def _states(record: str, term: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(term)}(?!\w)", record, re.IGNORECASE) is not None


def _like(old: str, new: str) -> str:
    return new[0].upper() + new[1:] if old[0].isupper() else new


@cache
def _listed(kind: str) -> Mapping[str, tuple[str, ...]]:
    """Term in lower case → the other terms of its groups."""
    found: dict[str, tuple[str, ...]] = {}
    for line in _LISTS[kind]:
        group = [term.strip() for term in line.split(",")]
        for term in group:
            others = tuple(other for other in group if other != term)
            found[term.lower()] = (*found.get(term.lower(), ()), *others)
    return found


@cache
def _listed_pattern(kind: str) -> re.Pattern[str]:
    terms = sorted((term.strip() for line in _LISTS[kind] for term in line.split(",")), key=len, reverse=True)
    before = r"(?<=\d )" if kind == "unit" else r"(?<![\w-])"
    # Units keep their case: "t" and "T" differ.
    return re.compile(
        rf"{before}(?:{'|'.join(map(re.escape, terms))})(?![\w-])", 0 if kind == "unit" else re.IGNORECASE
    )


def _collect_terms(examples: Sequence[OwnExample]) -> Mapping[str, tuple[str, ...]]:
    """Words of the answers without the most frequent ones, by form."""
    subjects: dict[str, set[str]] = {}
    for example in examples:
        for match in _TERM.finditer(example.answered.output):
            if content_words(stem_words(match[0])):
                subjects.setdefault(match[0], set()).add(example.subject)
    most = _COMMON_SHARE * len({example.subject for example in examples})
    left = sorted(word for word, found in subjects.items() if len(found) <= most)
    forms: dict[str, list[str]] = {}
    for word in left:
        forms.setdefault(_form(word), []).append(word)
    return {form: tuple(words) for form, words in forms.items()}


def _form(word: str) -> str:
    return f"{'Name' if word[0].isupper() else 'word'} {next((end for end in _ENDINGS if word.endswith(end)), '')}"

"""Builds pairs of a record and a statement in which the statement alone tells nothing about its label.

Pairs come in blocks. Within a block each statement occurs as often with a record that supports it as with one that does not, and
so does each record. A reader that ignores either of them is right half of the time.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from random import Random
from typing import Final

from fine_tune_assets.claims.negations import Finding, extract_findings, find_unsupported_negations
from fine_tune_assets.judging.judges.answer_features import content_words, stem_words
from fine_tune_assets.judging.judges.grades import Support
from fine_tune_assets.judging.judges.verifier.normalized_text import normalize_text
from fine_tune_assets.judging.judges.verifier.record_passages import split_statements
from fine_tune_assets.judging.judges.verifier.training_data.answer_flips import find_flips, flip_statement, write_both
from fine_tune_assets.judging.judges.verifier.training_data.inserted_turns import (
    FINDINGS,
    INSERTED_KINDS,
    Part,
    insert_turns,
    write_exchange,
)
from fine_tune_assets.judging.judges.verifier.training_data.paraphrases import paraphrase
from fine_tune_assets.judging.judges.verifier.training_data.term_changes import TermChange, find_changes
from fine_tune_assets.judging.judges.verifier.training_data.word_neighbors import WORD
from fine_tune_assets.quantities.numbers import find_unsupported_numbers

NOT_MENTIONED_KINDS: Final = frozenset({"finding", "medicine", "finding added", "finding dropped", "other note"})
PARTNERS_TRIED: Final = 150
SAME_STATEMENT: Final = 0.5
"""Share of a statement's content words from which another statement of the note says the same."""
WORDS_CHANGED: Final = 2
WORDS_OF_THE_RECORD: Final = 0.5
POLARITY_BLOCKS: Final = 2
SHORT_FORMS: Final = 0.6
"""Share of the polarity blocks whose statements are written from the finding alone instead of the notes' own."""
NEGATED: Final = "negated"
BLIND_RECORD: Final = "Hello"
"""Replaces every record in the blind control."""
_NEGATION: Final = re.compile(r"\b(?:not|never)\s+|\bno\s+(?=\w)", re.IGNORECASE)
_VERB: Final = re.compile(
    r"\b(?:is|are|was|were|has been|have been|will|must|should|can|could|may|did|does|has|have)\b", re.IGNORECASE
)
CONTEXT_LINES: Final = (0, 1, 2, 4, 100)
"""Lines around an inserted exchange in training."""


@dataclass(frozen=True)
class Report:
    """One record with the note that experts wrote about it."""

    subject: str
    record: str
    note: str


@dataclass(frozen=True)
class Pair:
    record: str
    statement: str
    label: Support
    kind: str
    """Kind of error that the block plants; also for the block's supported pairs."""
    subject: str
    block: int
    wrong_words: tuple[int, ...] = ()
    """Indices of the statement's words that are wrong; empty where the whole statement is."""


@dataclass(frozen=True)
class _Fact:
    """A report's statement with its record, normalized."""

    subject: str
    record: str
    statement: str
    known: frozenset[str]
    """Word stems of the record."""
    said: frozenset[str]
    """Stems of the statement's content words."""
    note: tuple[str, ...]
    """All statements of the note."""


def build_pairs(
    reports: Sequence[Report],
    part: Part,
    seed: int,
    neighbors: Mapping[str, Sequence[str]],
    left_out: frozenset[str] = frozenset(),
) -> list[Pair]:
    """All blocks of the reports, numbered, without the kinds in `left_out`. `neighbors` is that of `word_neighbors`."""
    random = Random(seed)
    facts = [fact for report in reports for fact in _read_facts(report)]
    blocks = [
        block
        for fact in facts
        for block in (
            *_change_term(fact, random),
            *_change_word(fact, neighbors, random),
            *_flip_answer(fact, random),
            *_flip_natural(fact, random),
            *_insert_exchange(fact, part, random),
            *_add_finding(fact, random),
            *_exchange_records(fact, facts, random),
            *_drop_evidence(fact),
            *_drop_from_note(fact, random),
        )
        if block[0].kind not in left_out
    ]
    blocks += [block for block in _exchange_polarity(facts, random) if block[0].kind not in left_out]
    if NEGATED not in left_out:
        blocks += [block for fact in facts for block in _turn_statement(fact)]
    return [replace(pair, block=number) for number, block in enumerate(blocks) for pair in block]


def sample_blocks(pairs: Sequence[Pair], limits: Mapping[str, int], default: int, random: Random) -> list[Pair]:
    """At most `limits` (or `default`) whole blocks of each kind."""
    blocks = defaultdict(list)
    for pair in pairs:
        blocks[pair.kind, pair.block].append(pair)
    by_kind = defaultdict(list)
    for (kind, _), block in blocks.items():
        by_kind[kind].append(block)
    return [
        pair
        for kind, many in by_kind.items()
        for block in random.sample(many, min(len(many), limits.get(kind, default)))
        for pair in block
    ]


def is_balanced(pairs: Sequence[Pair]) -> bool:
    """Whether each statement text is supported as often as not, within each kind of error."""
    counts: dict[tuple[str, str], int] = {}
    for pair in pairs:
        key = (pair.kind, pair.statement)
        counts[key] = counts.get(key, 0) + (1 if pair.label == "supported" else -1)
    return not any(counts.values())


def _read_facts(report: Report) -> Iterator[_Fact]:
    """The statements of the note whose numbers and at least one word occur in the record."""
    record = normalize_text(report.record)
    known = frozenset(stem_words(record))
    note = tuple(split_statements(normalize_text(report.note)))
    for statement in note:
        said = frozenset(content_words(stem_words(statement)))
        if known & said and not find_unsupported_numbers(statement, record):
            yield _Fact(report.subject, record, statement, known, said, note)


def _block(kind: str, subject: str, right: Sequence[tuple[str, str]]) -> list[Pair]:
    """All pairs of two records and two statements: the n-th statement is true of the n-th record only."""
    label: Support = "not mentioned" if kind in NOT_MENTIONED_KINDS else "contradicted"
    (record, statement), (other_record, other_statement) = right
    wrong, other_wrong = _differing_words(statement, other_statement), _differing_words(other_statement, statement)
    return [
        Pair(record, statement, "supported", kind, subject, 0),
        Pair(record, other_statement, label, kind, subject, 0, other_wrong),
        Pair(other_record, other_statement, "supported", kind, subject, 0),
        Pair(other_record, statement, label, kind, subject, 0, wrong),
    ]


def _differing_words(statement: str, other: str) -> tuple[int, ...]:
    here, there = statement.split(), other.split()
    matcher = SequenceMatcher(None, there, here, autojunk=False)
    return tuple(at for tag, _, _, start, end in matcher.get_opcodes() if tag != "equal" for at in range(start, end))


def _change_term(fact: _Fact, random: Random) -> Iterator[list[Pair]]:
    """At most one block for each kind."""
    changes = find_changes(fact.statement, fact.record, random)
    random.shuffle(changes)
    for change in {change.kind: change for change in changes}.values():
        statement = fact.statement
        if random.random() < 0.3:
            rewritten = paraphrase(statement, random)
            statement = rewritten if rewritten and change.apply(rewritten) != rewritten else statement
        other = (change.apply(fact.record), change.apply(statement))
        yield _block(change.kind, fact.subject, [(fact.record, statement), other])


def _change_word(fact: _Fact, neighbors: Mapping[str, Sequence[str]], random: Random) -> Iterator[list[Pair]]:
    """Any word of the statement that the record has, exchanged with a similar word, if possible with one of the same record."""
    in_record = frozenset(WORD.findall(fact.record.lower()))
    words = [word for word in WORD.findall(fact.statement.lower()) if word in in_record and neighbors.get(word)]
    for word in random.sample(words, min(WORDS_CHANGED, len(words))):
        others = [other for other in neighbors[word] if other in in_record]
        other = random.choice(others if others and random.random() < WORDS_OF_THE_RECORD else neighbors[word])
        change = TermChange("word", word, other)
        yield _block(
            "word",
            fact.subject,
            [(fact.record, fact.statement), (change.apply(fact.record), change.apply(fact.statement))],
        )


def _exchange_polarity(facts: Sequence[_Fact], random: Random) -> Iterator[list[Pair]]:
    """A finding that one report's note asserts and another one's negates, each with both records.

    The records speak about it as people do; the notes say which way, and `claims.negations` must not disagree.
    """
    by_finding: dict[str, dict[str, list[tuple[_Fact, Finding]]]] = {}
    for fact in facts:
        findings = list(extract_findings(fact.statement))
        if (
            len(findings) == 1
            and findings[0].polarity != "open"
            and not find_unsupported_negations(fact.statement, fact.record)
        ):
            found = findings[0]
            if found.name in {other.name for other in extract_findings(fact.record)}:
                by_finding.setdefault(found.name, {}).setdefault(found.polarity, []).append((fact, found))
    for sides in by_finding.values():
        asserted, negated = sides.get("asserted", []), sides.get("negated", [])
        for number in range(POLARITY_BLOCKS * min(len(asserted), len(negated))):
            (fact, finding), (other, _) = asserted[number % len(asserted)], random.choice(negated)
            if fact.subject != other.subject:
                name = finding.written.lower()
                is_short = random.random() < SHORT_FORMS
                statements = write_both(name, True, random) if is_short else (fact.statement, other.statement)
                pairs = _block("polarity", fact.subject, [(fact.record, statements[0]), (other.record, statements[1])])
                yield [replace(pair, wrong_words=()) for pair in pairs]


def _flip_answer(fact: _Fact, random: Random) -> Iterator[list[Pair]]:
    flips = list(find_flips(fact.record, random))
    if flips:
        flip = random.choice(flips)
        yield _block(
            "negation",
            fact.subject,
            [(fact.record, flip.statement), (flip.record, flip.other_statement)],
        )


def _flip_natural(fact: _Fact, random: Random) -> Iterator[list[Pair]]:
    """The note's own words about a finding, with the record in which the finding is turned round.

    The rules of `claims.negations` must agree that the record supports the statement and the changed record does not.
    """
    for flip in find_flips(fact.record, random):
        if _is_reversed(fact.statement, fact.record, flip.record):
            other = flip_statement(fact.statement, flip.finding)
            if other and _is_reversed(other, flip.record, fact.record):
                yield _block("negation", fact.subject, [(fact.record, fact.statement), (flip.record, other)])
            else:
                supported = Pair(fact.record, fact.statement, "supported", "negation", fact.subject, 0)
                words = tuple(
                    at for at, word in enumerate(fact.statement.split()) if word.lower().strip(".,;") in flip.finding
                )
                yield [
                    supported,
                    replace(supported, record=flip.record, label="contradicted", wrong_words=words),
                ]


def _is_reversed(statement: str, record: str, other_record: str) -> bool:
    return bool(find_unsupported_negations(statement, other_record)) and not find_unsupported_negations(
        statement, record
    )


def _insert_exchange(fact: _Fact, part: Part, random: Random) -> Iterator[list[Pair]]:
    exchange = write_exchange(random.choice(INSERTED_KINDS), part, random)
    context = _choose_context(fact.record, part, random)
    state = random.getstate()
    record = insert_turns(context, exchange.turns, random)
    random.setstate(state)
    other_record = insert_turns(context, exchange.other_turns, random)
    statement, other = normalize_text(exchange.statement), normalize_text(exchange.other_statement)
    yield _block(exchange.kind, fact.subject, [(record, statement), (other_record, other)])


def _choose_context(record: str, part: Part, random: Random) -> str:
    """The whole record for measurement; for training often only a few of its lines, which is faster and easier to learn from."""
    lines = record.split("\n")
    size = random.choice(CONTEXT_LINES) if part == "training" else len(lines)
    start = random.randint(0, max(0, len(lines) - size))
    return "\n".join(lines[start : start + size])


def _add_finding(fact: _Fact, random: Random) -> Iterator[list[Pair]]:
    """Appends one of two findings that the record lacks; each record has an answer that mentions one of them."""
    exchanges = [write_exchange("negation", "training", random) for _ in range(2)]
    findings = [_name_finding(exchange.statement) for exchange in exchanges]
    if any(not f or f.lower() in fact.record.lower() for f in findings) or findings[0] == findings[1]:
        return
    ending = random.choice((" and {}.", ", {}.", ", with {}.", " as well as {}."))
    opening = random.choice(("Patient: I also have {}.", "Patient: And there is this {}.", "Patient: I get {} too."))
    state = random.getstate()
    right = []
    for finding in findings:
        random.setstate(state)
        record = insert_turns(fact.record, opening.format(finding), random)
        right.append((record, fact.statement.rstrip(".; ") + ending.format(finding)))
    yield _block("finding added", fact.subject, right)


def _name_finding(statement: str) -> str:
    return next((finding for finding in FINDINGS if finding in statement.lower()), "")


def _exchange_records(fact: _Fact, facts: Sequence[_Fact], random: Random) -> Iterator[list[Pair]]:
    """Two statements of different reports, each with both records. The partner shares as many words as possible."""
    partners = [other for other in random.sample(facts, min(PARTNERS_TRIED, len(facts))) if _is_partner(fact, other)]
    if partners:
        other = max(partners, key=lambda one: len(fact.said & one.said))
        pairs = _block("other note", fact.subject, [(fact.record, fact.statement), (other.record, other.statement)])
        yield [replace(pair, wrong_words=()) for pair in pairs]


def _is_partner(fact: _Fact, other: _Fact) -> bool:
    """Whether neither record can support the other statement: at least one of its words is missing there."""
    return fact.subject != other.subject and bool(fact.said - other.known) and bool(other.said - fact.known)


def turn_statement(statement: str) -> str:
    """The statement without its first negation, or with one; the same if it has no place for one.

    >>> turn_statement("The roof was not damaged."), turn_statement("The roof leaks.")
    ('The roof was damaged.', 'The roof leaks.')
    """
    if negation := _NEGATION.search(statement):
        return statement[: negation.start()] + statement[negation.end() :]
    verb = _VERB.search(statement)
    return f"{statement[: verb.end()]} not{statement[verb.end() :]}" if verb else statement


def _turn_statement(fact: _Fact) -> Iterator[list[Pair]]:
    """The statement and its negation. The other record states the negation in place of what supports the statement."""
    other = turn_statement(fact.statement)
    lines = fact.record.split("\n")
    hits = [
        at for at, line in enumerate(lines) if len(fact.said & set(stem_words(line))) >= SAME_STATEMENT * len(fact.said)
    ]
    if other != fact.statement and hits:
        changed = [other if at == hits[0] else line for at, line in enumerate(lines) if at not in hits[1:]]
        yield _block(NEGATED, fact.subject, [(fact.record, fact.statement), ("\n".join(changed), other)])


def _drop_evidence(fact: _Fact) -> Iterator[list[Pair]]:
    """The record, and the record without the lines that share a word with the statement and their neighbors."""
    lines = fact.record.split("\n")
    hits = {at for at, line in enumerate(lines) if fact.said & set(stem_words(line))}
    dropped = hits | {at + 1 for at in hits if lines[at].rstrip().endswith("?")}
    dropped |= {at - 1 for at in hits if at and lines[at - 1].rstrip().endswith("?")}
    kept = [line for at, line in enumerate(lines) if at not in dropped]
    if len(kept) >= 2 and len(kept) < len(lines):
        yield [
            Pair(fact.record, fact.statement, "supported", "finding dropped", fact.subject, 0),
            Pair("\n".join(kept), fact.statement, "not mentioned", "finding dropped", fact.subject, 0),
        ]


def _drop_from_note(fact: _Fact, random: Random) -> Iterator[list[Pair]]:
    """A paraphrase, with the note as the record, and with the note without this statement: how completeness is measured."""
    kept = [one for one in fact.note if len(fact.said & set(stem_words(one))) < SAME_STATEMENT * len(fact.said)]
    statement = paraphrase(fact.statement, random, rewrites=3) or fact.statement
    if kept and len(kept) < len(fact.note):
        yield [
            Pair("\n".join(fact.note), statement, "supported", "finding dropped", fact.subject, 0),
            Pair("\n".join(kept), statement, "not mentioned", "finding dropped", fact.subject, 0),
        ]

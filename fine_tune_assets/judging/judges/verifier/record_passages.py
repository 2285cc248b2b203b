"""Cuts an answer into statements, and selects the lines of a record that matter for a statement.

Selection is lexical: lines that share rare words with the statement, each with its neighbors, because the answer to a question
seldom repeats its words.
"""

import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from math import log
from typing import Final

from fine_tune_assets.core.bounded_patterns import compile_bounded
from fine_tune_assets.judging.judges.answer_features import content_words, split_sentences, stem_words

MAX_STATEMENT_WORDS: Final = 28
_CLAUSE_END: Final = compile_bounded(r";\s+|,\s+(?=(?:and|but|which|who|although|however)\b)|\s+(?=but\b)")
_OPEN_END: Final = re.compile(r"\b(?:Dr|Mr|Mrs|Ms|Prof|St|Jr|Sr|vs|approx|Art|Sec|e\.g|i\.e)\.$|^[A-Z]\.$")
"""Ends a piece that is not a sentence: an abbreviation, or an initial alone."""
_NEXT_SHARE: Final = 0.6
_PREVIOUS_SHARE: Final = 0.4
"""Shares of a line's score that the next line, often its answer, and the previous one, often its question, receive."""
_MAX_LINE_WORDS: Final = 20


def split_statements(answer: str) -> list[str]:
    """The sentences of an answer; a long one is split at clauses."""
    found = []
    for sentence in _join_abbreviations(split_sentences(answer)):
        pieces = [sentence]
        if len(sentence.split()) > MAX_STATEMENT_WORDS:
            clauses = [piece.strip() for piece in _CLAUSE_END.split(sentence)]
            pieces = [piece for clause in clauses for piece in _split_at_commas(clause)]
        found += [piece for piece in pieces if stem_words(piece)]
    return found


def _join_abbreviations(pieces: Sequence[str]) -> list[str]:
    """Whole sentences from pieces that were cut after "Dr." or an initial.

    >>> _join_abbreviations(["Saw Dr.", "F.", "No fever."])
    ['Saw Dr. F.', 'No fever.']
    """
    found: list[str] = []
    for piece in pieces:
        if found and _OPEN_END.search(found[-1]):
            found[-1] += f" {piece}"
        else:
            found.append(piece)
    return found


def _split_at_commas(clause: str) -> list[str]:
    """The parts of a clause that is still long: a false one must not hide among many true ones."""
    return re.split(r",\s+", clause) if len(clause.split()) > MAX_STATEMENT_WORDS else [clause]


def split_lines(record: str) -> list[str]:
    """The turns of a dialogue or the lines of a note; a long one is split at its sentences."""
    found = []
    for line in record.split("\n"):
        found += split_sentences(line) if len(line.split()) > _MAX_LINE_WORDS else [line.strip()]
    return [line for line in found if line]


def rank_lines(statement: str, lines: Sequence[str]) -> list[tuple[int, float]]:
    """Index and score of each line, best first."""
    scores = score_lines(statement, lines)
    return sorted(enumerate(scores), key=lambda one: (-one[1], one[0]))


def score_lines(statement: str, lines: Sequence[str]) -> list[float]:
    """Sum of the inverse document frequencies of the shared words, plus a share of the best neighbor's sum."""
    stems = [_line_stems(line) for line in lines]
    counted = Counter(word for words in stems for word in words)
    wanted = {w: log(1 + len(lines) / counted[w]) for w in set(content_words(stem_words(statement))) if counted[w]}
    own = [sum(wanted[word] for word in words & wanted.keys()) for words in stems]
    padded = [0.0, *own, 0.0]
    return [score + max(_NEXT_SHARE * padded[at], _PREVIOUS_SHARE * padded[at + 2]) for at, score in enumerate(own)]


@lru_cache(100_000)
def _line_stems(line: str) -> frozenset[str]:
    return frozenset(stem_words(line))

"""What can be measured of an answer without a second model: words, numbers, and clauses beside the expert's reference and
the input; and, where asked for, the meanings of clauses.

Owns the figures. Each is from 0 to 1, and 1 for the reference itself, so that no weight that is at least 0 can turn one around.
None rises by length alone: with such figures a false statement at the end of a summary raised 76 of 100 grades, without them 42.
Does not know grades.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fine_tune_assets.core.numbers import numbers_in
from fine_tune_assets.judging.grades import Answered
from fine_tune_assets.judging.words import clauses_of, content_words, ends_whole, sentences_of, words_of

FEATURES_VERSION = 1
"""Raise it when a figure changes: the weights were fitted on the old ones, and a licence holds for those."""
WORDS = (
    "content recall",
    "content F1",
    "grounded recall",
    "sentences told",
    "worst clause told",
    "numbers told",
    "clauses",
    "ends whole",
)
MEANING = ("meaning", "clauses covered", "worst clause covered", "clauses supported")
"""From the sentence encoder: each clause beside the most similar one of the other text."""
FEATURES = (*WORDS, *MEANING)
Encode = Callable[[Sequence[str]], NDArray[np.float32]]
"""Texts → one vector of length 1 each."""
Vectors = Mapping[str, NDArray[np.float32]]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _Text:
    """A text, cut once for all answers that it is compared with."""

    text: str

    @cached_property
    def words(self) -> list[str]:
        return words_of(self.text)

    @cached_property
    def content(self) -> Counter[str]:
        return Counter(content_words(self.words) or self.words)

    @cached_property
    def sentences(self) -> list[set[str]]:
        """Content words of each sentence that has any."""
        return _contents(sentences_of(self.text)) or [set(self.words)]

    @cached_property
    def clauses(self) -> list[str]:
        return clauses_of(self.text)

    @cached_property
    def clause_contents(self) -> list[set[str]]:
        return _contents(self.clauses) or [set(self.words)]

    @cached_property
    def numbers(self) -> set[str]:
        return numbers_in(self.text)


def measure_answers(answers: Sequence[Answered], names: Sequence[str], encode: Encode) -> Floats:
    """(answers, names). Every answer needs words, and a reference with words. Nothing is encoded that no name asks for."""
    texts = {text: _Text(text) for a in answers for text in (a.output, a.reference or "", a.input)}
    vectors = _vectors(answers, texts, encode) if set(names) & set(MEANING) else None
    found = [_measure(texts[a.output], texts[a.reference or ""], texts[a.input], vectors) for a in answers]
    return np.array([[row[name] for name in names] for row in found]).reshape(len(answers), len(names))


def _measure(said: _Text, expected: _Text, given: _Text, vectors: Vectors | None) -> dict[str, float]:
    return {**_words(said, expected, given), **(_meaning(said, expected, vectors) if vectors is not None else {})}


def _words(said: _Text, expected: _Text, given: _Text) -> dict[str, float]:
    shared, told = (said.content & expected.content).total(), set(said.words)
    grounded = expected.content.keys() & set(given.words) or expected.content.keys()
    numbers = expected.numbers
    return {
        "content recall": shared / expected.content.total(),
        "content F1": 2 * shared / (said.content.total() + expected.content.total()),
        "grounded recall": len(grounded & told) / len(grounded),
        "sentences told": float(np.mean([len(content & told) / len(content) for content in expected.sentences])),
        "worst clause told": min(len(content & told) / len(content) for content in expected.clause_contents),
        "numbers told": len(numbers & said.numbers) / len(numbers) if numbers else 1.0,
        "clauses": min(1.0, _grounded_clauses(said, expected, given) / len(expected.clause_contents)),
        "ends whole": float(ends_whole(said.text) or not ends_whole(expected.text)),
    }


def _grounded_clauses(said: _Text, expected: _Text, given: _Text) -> int:
    """Clauses with a content word of the reference or the input: commas alone tell nothing."""
    grounds = {*expected.words, *given.words}
    return sum(bool(content & grounds) for content in said.clause_contents)


def _meaning(said: _Text, expected: _Text, vectors: Vectors) -> dict[str, float]:
    ours, theirs = (np.stack([vectors[clause] for clause in text.clauses]) for text in (said, expected))
    alike = np.clip((ours @ theirs.T).astype(float), 0, 1)
    covered, supported = alike.max(axis=0), alike.max(axis=1)
    return {
        "meaning": float(np.clip(vectors[said.text] @ vectors[expected.text], 0, 1)),
        "clauses covered": float(covered.mean()),
        "worst clause covered": float(covered.min()),
        "clauses supported": float(supported.mean()),
    }


def _vectors(answers: Sequence[Answered], texts: Mapping[str, _Text], encode: Encode) -> Vectors:
    """Of every answer and reference, and of each of their clauses, once."""
    compared = [text for a in answers for text in (a.output, a.reference or "")]
    asked = dict.fromkeys(piece for text in compared for piece in (text, *texts[text].clauses))
    return dict(zip(asked, encode(list(asked)), strict=True))


def _contents(pieces: Sequence[str]) -> list[set[str]]:
    contents = [set(content_words(words_of(piece))) for piece in pieces]
    return [content for content in contents if content]

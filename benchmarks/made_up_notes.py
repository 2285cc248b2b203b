"""Notes of made-up words with planted copies, for measuring how fast and how surely duplicates are found.

Owns the notes: 100 to 400 words of a Zipf distribution, below headings and a disclaimer that all share. One in ten is a copy
of an earlier note of its batch, with 5 % or 10 % of its words replaced, left out or added to.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

VOCABULARY = 30_000
SHORTEST, LONGEST = 100, 400
COPIES = 0.1
EDITS = (0.05, 0.10)
_SYLLABLES = ("ba", "co", "di", "fe", "gu", "ha", "jo", "ki", "lem", "mor", "na", "pul", "ra", "sti", "to", "vex")
_HEADINGS = ("HISTORY", "EXAMINATION", "ASSESSMENT AND PLAN")
_DISCLAIMER = (
    "This note was written with the help of speech recognition and may contain errors of transcription that were not noticed "
    "when it was signed. It is meant for the persons who treat the patient and for nobody else."
)


@dataclass(frozen=True)
class Notes:
    """A batch of notes."""

    table: pa.Table
    copied_from: dict[str, tuple[str, float]]
    """Id of a copy → id of its original, and the share of words that was edited."""


def make_notes(batch: int, count: int, seed: int, header_words: int = 0) -> Notes:
    """With `header_words`, every note starts with the same so many words."""
    rng = np.random.default_rng([seed, batch])
    originals = int(count * (1 - COPIES))
    lengths = rng.integers(SHORTEST, LONGEST + 1, originals)
    drawn = np.split(_draw(rng, int(lengths.sum())), np.cumsum(lengths)[:-1])
    notes = list(drawn)
    copied_from = {}
    for number in range(originals, count):
        original, edits = int(rng.integers(originals)), EDITS[number % len(EDITS)]
        notes.append(_edited(rng, drawn[original], edits))
        copied_from[_id(batch, number)] = (_id(batch, original), edits)
    ids = [_id(batch, number) for number in range(count)]
    header = " ".join(_WORDS[_draw(np.random.default_rng(seed), header_words)])
    texts = pa.array([f"{header}\n{_text(words)}" for words in notes], pa.large_string())
    columns = {"report_id": ids, "subject_key": ids, "text": texts, "tagged_text": texts}
    return Notes(pa.table(columns), copied_from)


def _id(batch: int, number: int) -> str:
    return f"{batch:04}/{number:06}"


def _draw(rng: np.random.Generator, count: int) -> np.ndarray:
    return np.searchsorted(_CUMULATED, rng.random(count))


def _edited(rng: np.random.Generator, words: np.ndarray, edits: float) -> np.ndarray:
    """Each word is edited with that chance: half of those replaced, a quarter left out, a quarter followed by another."""
    kind = np.where(rng.random(len(words)) < edits, rng.choice(4, len(words)), -1)
    words = np.where((kind == 0) | (kind == 1), _draw(rng, len(words)), words)
    words, kind = words[kind != 2], kind[kind != 2]
    return np.insert(words, np.flatnonzero(kind == 3) + 1, _draw(rng, int((kind == 3).sum())))


def _text(words: np.ndarray) -> str:
    parts = [" ".join(part) for part in np.array_split(_WORDS[words], len(_HEADINGS))]
    return (
        "\n\n".join(f"{heading}:\n{part}." for heading, part in zip(_HEADINGS, parts, strict=True))
        + "\n\n"
        + _DISCLAIMER
    )


def _vocabulary() -> np.ndarray:
    """Different words of two to five syllables: numbers with a syllable for each digit."""
    base = len(_SYLLABLES)
    return np.array(
        ["".join(_SYLLABLES[i // base**p % base] for p in range(len(f"{i:x}"), -1, -1)) for i in range(VOCABULARY)],
        dtype=object,
    )


_WORDS = _vocabulary()
_CUMULATED = np.cumsum(1 / np.arange(1, VOCABULARY + 1)) / np.sum(1 / np.arange(1, VOCABULARY + 1))

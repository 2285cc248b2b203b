"""Planted control statements, of which it is known whether the record supports them.

A judge that says yes (or no) to everything does not tell them apart, and then nothing that it said in the same batch counts.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final

from fine_tune_assets.core.fingerprints import fingerprint_text
from fine_tune_assets.judging.judges.answer_features import content_words, stem_words
from fine_tune_assets.judging.judges.statement_readers import Claim, Reading
from fine_tune_assets.judging.judges.verifier.record_passages import split_lines

CONTROL_PAIRS: Final = 6
MIN_DIFFERENCE: Final = 0.2
"""Minimum mean difference between the probabilities that true and false controls are supported. A judge that always gives the
same reply has a difference of 0. A 1.5B model gave 0.62 to 0.97 for true short statements and 0.05 to 0.20 for false ones."""
_LINE_WORDS: Final = range(4, 29)
_MIN_CONTENT_WORDS: Final = 3
_MAX_SHARED_WORDS: Final = 0.5
"""Largest share of a line's content words in another record of which it counts as a false statement."""
_NUMBER: Final = re.compile(r"(?<![\w.,])\d{1,4}(?![\w,]|\.\d)")
_NEGATION: Final = re.compile(r"\b(?:not|never)\s+", re.IGNORECASE)
_VERB: Final = re.compile(r"\b(?:is|are|was|were|will|must|should)\b(?! not\b)", re.IGNORECASE)
_SPARE_RECORD: Final = "\n".join(
    (
        "The meeting starts at 9 on Monday in the large hall.",
        "The contract was signed by both parties in April.",
        "The parcel weighs 12 kilograms and has two handles.",
        "The northern entrance is closed until the end of the week.",
        "Maria ordered 40 chairs for the new library.",
        "The train to the coast will leave from platform 7.",
    )
)
"""Supplies controls where a batch's own records yield too few."""


@dataclass(frozen=True)
class ControlPair:
    true: Claim
    false: Claim


def plant_controls(records: Sequence[str]) -> list[ControlPair]:
    """CONTROL_PAIRS pairs, at most one per record; the same for the same records in any order."""
    ordered = sorted(set(records), key=fingerprint_text)
    own = [pair for at, record in enumerate(ordered) if (pair := _plant(record, ordered[at - 1], at)) is not None]
    return [*own, *_spare_pairs()][:CONTROL_PAIRS]


def control_failure(pairs: Sequence[tuple[Reading, Reading]]) -> str:
    """Why a judge with these readings of true and false controls is not usable; empty if it is."""
    failures = [true.failure or false.failure for true, false in pairs]
    found = [pair for pair, failure in zip(pairs, failures, strict=True) if not failure]
    if 2 * len(found) < len(pairs):
        return next(filter(None, failures))
    difference = fmean(true.supported - false.supported for true, false in found)
    if difference >= MIN_DIFFERENCE:
        return ""
    return (
        "the judge does not tell planted true statements from false ones: their mean probabilities differ by "
        f"{difference:.2f} in {len(found)} pairs, and the minimum is {MIN_DIFFERENCE:.2f}"
    )


def change_line(line: str) -> str:
    """The line with another number, without its negation or with one; empty if it has none of these.

    >>> change_line("Take 20 drops."), change_line("It did not rain."), change_line("The door is open.")
    ('Take 41 drops.', 'It did rain.', 'The door is not open.')
    """
    if number := _NUMBER.search(line):
        return f"{line[: number.start()]}{2 * int(number[0]) + 1}{line[number.end() :]}"
    if negation := _NEGATION.search(line):
        return line[: negation.start()] + line[negation.end() :]
    if verb := _VERB.search(line):
        return f"{line[: verb.end()]} not{line[verb.end() :]}"
    return ""


def _plant(record: str, other: str, number: int) -> ControlPair | None:
    """A line of the record, and by turns the same line changed or a line of another record."""
    lines = _usable_lines(record)
    changed = ((line, change_line(line)) for line in lines)
    foreign = ((line, text) for line in lines for text in _usable_lines(other) if not _shares_words(text, record))
    kinds = (changed, foreign) if number % 2 == 0 else (foreign, changed)
    found = next(((line, text) for kind in kinds for line, text in kind if text), None)
    return None if found is None else ControlPair(Claim(record, found[0]), Claim(record, found[1]))


def _spare_pairs() -> Iterator[ControlPair]:
    for line in split_lines(_SPARE_RECORD):
        yield ControlPair(Claim(_SPARE_RECORD, line), Claim(_SPARE_RECORD, change_line(line)))


def _usable_lines(record: str) -> list[str]:
    """Lines that state something, in an order by hash, so that they come from all over the record."""
    lines = [line for line in split_lines(record) if len(line.split()) in _LINE_WORDS and not line.endswith("?")]
    stating = [line for line in lines if len(set(content_words(stem_words(line)))) >= _MIN_CONTENT_WORDS]
    return sorted(stating, key=fingerprint_text)


def _shares_words(line: str, record: str) -> bool:
    words = set(content_words(stem_words(line)))
    return len(words & set(stem_words(record))) > _MAX_SHARED_WORDS * len(words)

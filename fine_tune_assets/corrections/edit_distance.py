"""Measures how much of an answer a correction changed, in words."""

from collections.abc import Sequence

import pyarrow as pa

from fine_tune_assets.tables.correction_rows import ScrubbedCorrection


def edit_fraction(answer: str, corrected: str) -> float:
    """Words added, removed or replaced, as a share of the longer text: 0 for equal texts, 1 for entirely different ones.

    >>> edit_fraction("Take 40 mg.", "Take 80 mg."), edit_fraction("", "Rest."), edit_fraction("", "")
    (0.3333333333333333, 1.0, 0.0)
    """
    before, after = answer.split(), corrected.split()
    longest = max(len(before), len(after))
    return edit_distance(before, after) / longest if longest else 0.0


def edit_distance(before: Sequence[str], after: Sequence[str]) -> int:
    """Levenshtein distance, bit-parallel by columns (Hyyrö, Nordic J. Computing 10 (2003) 29-39)."""
    if not before:
        return len(after)
    places: dict[str, int] = {}
    for place, word in enumerate(before):
        places[word] = places.get(word, 0) | 1 << place
    every, last, distance = (1 << len(before)) - 1, 1 << (len(before) - 1), len(before)
    rises, falls = every, 0  # where the column rises or falls between rows
    for word in after:
        same = places.get(word, 0)
        across = (((same & rises) + rises) ^ rises) | same | falls
        up = falls | (~(across | rises) & every)
        down = rises & across
        distance += bool(up & last) - bool(down & last)
        up, down = (up << 1 | 1) & every, down << 1 & every
        vertical = same | falls
        rises, falls = down | (~(vertical | up) & every), up & vertical
    return distance


def add_edit_fractions(corrections: pa.Table) -> pa.Table:
    """Add the edit fraction to `scrubbed_corrections`; null if the answer is unknown."""
    texts = zip(corrections["answer"].to_pylist(), corrections["output"].to_pylist(), strict=True)
    fractions = [None if answer is None else edit_fraction(answer, output) for answer, output in texts]
    place = ScrubbedCorrection.SCHEMA.get_field_index("edit_fraction")
    return corrections.set_column(place, ScrubbedCorrection.SCHEMA.field(place), pa.array(fractions, pa.float64()))

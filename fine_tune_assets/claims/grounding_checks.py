"""Checks without a model whether an answer is grounded: everything that it states must be in its input.

Each check returns what is unsupported, as written in the answer: a hint, not proof. An output with hardly any words in common
with its input probably belongs to another input; the recipe sets that limit per task.
"""

import re
from collections.abc import Callable, Collection, Mapping
from typing import Final

from fine_tune_assets.claims.medications import find_unsupported_medications
from fine_tune_assets.claims.negation_words import stem
from fine_tune_assets.claims.negations import find_unsupported_negations
from fine_tune_assets.claims.sides import find_unsupported_sides
from fine_tune_assets.quantities.numbers import find_unsupported_numbers
from fine_tune_assets.quantities.stated_dates import blank_dates, find_unsupported_dates
from fine_tune_assets.quantities.units import find_unsupported_units

GroundingCheck = Callable[[str, str], list[str]]
"""Takes an answer and its input."""
GROUNDING_CHECKS: Final[Mapping[str, GroundingCheck]] = {
    "numbers": lambda output, given: find_unsupported_numbers(blank_dates(output), given),
    "units": find_unsupported_units,
    "dates": find_unsupported_dates,
    "sides": find_unsupported_sides,
    "negations": find_unsupported_negations,
    "medications": find_unsupported_medications,
}


def check_answer(output: str, input_text: str, checks: Collection[str]) -> dict[str, list[str]]:
    """Check → statements of `output` that `input_text` does not support, as written in `output`; empty if all are supported.

    `checks` are those of the domain pack.

    >>> check_answer("Take 80 mg. Left knee.", "40 mg for the right knee", ["numbers", "sides"])
    {'numbers': ['80 mg'], 'sides': ['Left knee']}
    """
    return {name: check(output, input_text) for name, check in GROUNDING_CHECKS.items() if name in checks}


MIN_OVERLAP_WORDS = 8
"""Minimum number of distinct words: a short, correct output may share none with its input ("Otitis media")."""


def measure_word_overlap(output: str, input_text: str) -> float | None:
    """Share of the distinct words of `output` that are in `input_text`; None if there are too few.

    Compares stems, ignores function words, and treats all names of a body site as equal.

    >>> measure_word_overlap("Twisted right ankle playing soccer, swelling, pain, limps.", "i twisted my ankle in soccer")
    0.375
    """
    words, held = _extract_stems(output), _extract_stems(input_text)
    return len(words & held) / len(words) if len(words) >= MIN_OVERLAP_WORDS else None


def _extract_stems(text: str) -> set[str]:
    return {found for word in re.findall(r"[a-z]+(?:'[a-z]+)?", text.lower()) if (found := stem(word))}

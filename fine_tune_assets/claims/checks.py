"""Checks one text against another without a model: what an answer states must be in its input.

Each check names what it did not find, as it stands in the answer: a hint, no proof. An output that shares hardly any word with
its input belongs to another one; at which share a task is in doubt, its recipe says.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final

from fine_tune_assets.claims.medications import unsupported_medications
from fine_tune_assets.claims.mentions import unsupported_negations
from fine_tune_assets.claims.negation_words import stem
from fine_tune_assets.claims.sides import unsupported_sides
from fine_tune_assets.quantities.numbers import unsupported_numbers
from fine_tune_assets.quantities.stated_dates import unsupported_dates, without_dates
from fine_tune_assets.quantities.units import unsupported_units

Check = Callable[[str, str], list[str]]
"""Takes an answer and its input."""
CHECKS: Final[Mapping[str, Check]] = {
    "numbers": lambda output, given: unsupported_numbers(without_dates(output), given),
    "units": unsupported_units,
    "dates": unsupported_dates,
    "sides": unsupported_sides,
    "negations": unsupported_negations,
    "medications": unsupported_medications,
}


def check_answer(output: str, input_text: str) -> dict[str, list[str]]:
    """Check → what `output` states and `input_text` does not hold, as it stands in `output`; empty where all is supported.

    >>> check_answer("Take 80 mg. Left knee.", "40 mg for the right knee")
    {'numbers': ['80 mg'], 'units': [], 'dates': [], 'sides': ['Left knee'], 'negations': [], 'medications': []}
    """
    return {name: check(output, input_text) for name, check in CHECKS.items()}


MINIMUM_WORDS = 8
"""Different words from which a share says something: of a few, a right output may share none ("Otitis media")."""


def shared_words(output: str, input_text: str) -> float | None:
    """Share of the different words of `output` that `input_text` holds too; None where they are too few.

    Small words are left out, endings too, and a body site counts in any of its names.

    >>> shared_words("Twisted right ankle playing soccer, swelling, pain, limps.", "i twisted my ankle in soccer")
    0.375
    """
    words, held = _stems(output), _stems(input_text)
    return len(words & held) / len(words) if len(words) >= MINIMUM_WORDS else None


def _stems(text: str) -> set[str]:
    return {found for word in re.findall(r"[a-z]+(?:'[a-z]+)?", text.lower()) if (found := stem(word))}

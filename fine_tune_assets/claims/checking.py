"""Checks one text against another without a model: what an answer states must be in its input.

Owns the names of the checks. Each names what it did not find, as it stands in the answer: a hint, no proof.
"""

from collections.abc import Callable, Mapping
from typing import Final

from fine_tune_assets.claims.medications import unsupported_medications
from fine_tune_assets.claims.mentions import unsupported_negations
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

"""Checks one draft without a model: what its output says must be in its input. A flag is a hint for a reviewer, no proof."""

from collections.abc import Callable, Mapping

from fine_tune_assets.approval.dates import unsupported_dates, without_dates
from fine_tune_assets.approval.flags import flag
from fine_tune_assets.approval.negation import unsupported_negations
from fine_tune_assets.approval.sides import unsupported_sides
from fine_tune_assets.approval.units import unsupported_units
from fine_tune_assets.core.numbers import unsupported_numbers
from fine_tune_assets.recipes.schema import FlagKind

CHECKS: Mapping[FlagKind, Callable[[str, str], list[str]]] = {
    "number not in input": lambda output, given: unsupported_numbers(without_dates(output), given),
    "unit not in input": unsupported_units,
    "date not in input": unsupported_dates,
    "side not in input": unsupported_sides,
    "negation not in input": unsupported_negations,
}
"""Each takes output and input, and names what it did not find, as it stands in the output."""


def check_output(output: str, input_text: str) -> list[str]:
    """Flags for each number, unit, date, side and negation of `output` that `input_text` does not hold."""
    return [flag(kind, detail) for kind, check in CHECKS.items() for detail in check(output, input_text)]

"""Checks one draft without a model: what its output says must be in its input. A flag is a hint for a reviewer, no proof."""

from collections.abc import Iterator, Mapping
from typing import Any

from fine_tune_assets.approval.consistency import noise_of
from fine_tune_assets.approval.flags import flag, kind_of
from fine_tune_assets.claims.checking import CHECKS as CLAIMS
from fine_tune_assets.claims.checking import Check
from fine_tune_assets.recipes.schema import FlagKind

CHECKS: Mapping[FlagKind, Check] = {
    "number not in input": CLAIMS["numbers"],
    "unit not in input": CLAIMS["units"],
    "date not in input": CLAIMS["dates"],
    "side not in input": CLAIMS["sides"],
    "negation not in input": CLAIMS["negations"],
    "medication not in input": CLAIMS["medications"],
}
"""Kind of flag → the check that finds it."""


def check_output(output: str, input_text: str) -> list[str]:
    """Flags for each number, unit, date, side, negation and medication of `output` that `input_text` does not hold."""
    return [flag(kind, detail) for kind, check in CHECKS.items() for detail in check(output, input_text)]


def flags_of_repair(draft: Mapping[str, Any], output: str) -> list[str]:
    """What a reviewer is warned of in the draft with another output: what the repair cured is gone, what it brought is there.

    What the other drafts told of it stays where it is about the input; it can't be told anew here.
    """
    if output == draft["output"]:
        return list(draft["flags"])
    new = check_output(output, f"{draft['instruction']}\n{draft['input']}")
    noise = [flag("label noise", why) for why in noise_of(draft["input"], output)]
    return [*_of_the_draft(draft["flags"], output), *new, *noise]


def _of_the_draft(flags: list[str], output: str) -> Iterator[str]:
    for one in flags:
        kind = kind_of(one)
        is_of_the_text = kind in CHECKS or kind == "label noise"
        is_gone = kind == "flag contradicts range" and one.partition(": ")[2] not in output
        if not is_of_the_text and not is_gone:
            yield one

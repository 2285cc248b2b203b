"""Deterministic checks of every answer, beside the judge: each is a figure of its own, and each can veto.

Owns which checks there are, their table, and when the candidate does too much worse than the incumbent. No model is asked, and no
text of an answer leaves: counts only.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from fine_tune_assets.claims.checking import CHECKS, check_answer
from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.tables import ANSWER_CHECKS, table_of
from fine_tune_assets.judging.forms import Bounds, format_faults, is_within, length_bounds
from fine_tune_assets.recipes.schema import CheckSettings, GateSettings

OF_THE_INPUT: Final = tuple(CHECKS)
"""What an answer states must be in its input."""
OF_THE_FORM: Final = ("format", "finished", "length")
CHECK_NAMES: Final = (*OF_THE_INPUT, *OF_THE_FORM)
_ROUNDING: Final = 1e-9


@dataclass(frozen=True)
class CheckFigure:
    """How often the answers of candidate and incumbent hold to one check, on the same examples."""

    check: str
    examples: int
    """On which it applies to the answers of both."""
    candidate_held: float | None
    """Share of these; None where there is none."""
    incumbent_held: float | None
    candidate_found: int
    incumbent_found: int
    unmatched: int
    """Examples on which it was measured for one of the two only."""

    @property
    def loss(self) -> float | None:
        """Share by which the candidate does worse."""
        if self.candidate_held is None or self.incumbent_held is None:
            return None
        return self.incumbent_held - self.candidate_held


def check_answers(scores: pa.Table, instruction_set: pa.Table, settings: CheckSettings) -> pa.Table:
    """ANSWER_CHECKS: a row for each answer of JUDGE_SCORES and check. Raises GateClosedError for an answer to another example."""
    examples = {row["example_id"]: row for row in instruction_set.to_pylist()}
    tested = {name for name, row in examples.items() if row["split"] == "test"}
    unknown = set(scores.column("example_id").to_pylist()) - tested
    if unknown:
        raise GateClosedError(
            f"{len(unknown)} answers are to examples that this instruction set does not test on. Materialize judge_scores again."
        )
    own = [(row["task"], row["messages"][-1]["content"]) for row in examples.values() if not row["is_general"]]
    bounds = length_bounds(own, settings)
    rows = [
        row for score in scores.to_pylist() for row in _rows(score, examples[score["example_id"]], settings, bounds)
    ]
    return table_of(rows, ANSWER_CHECKS)


def _rows(
    score: Mapping[str, Any], example: Mapping[str, Any], settings: CheckSettings, bounds: Mapping[str, Bounds]
) -> Iterator[dict[str, Any]]:
    answer, task = score["answer"], example["task"]
    found: dict[str, int | None] = {
        name: len(unsupported) for name, unsupported in check_answer(answer, example["messages"][-2]["content"]).items()
    }
    wanted, length = settings.formats.get(task), bounds.get(task)
    found["format"] = None if wanted is None else format_faults(answer, wanted)
    found["finished"] = int(not score["is_finished"])
    found["length"] = None if length is None else int(not is_within(answer, length))
    about = {name: score[name] for name in ("model", "model_fingerprint", "adapter_id", "example_id", "patient_key")}
    for check in CHECK_NAMES:
        count = found[check]
        yield {**about, "check": check, "is_held": None if count is None else count == 0, "found": count or 0}


def check_figures(table: pa.Table) -> list[CheckFigure]:
    """A figure for each check that the table has, in their order. What serves is the incumbent, else the base model."""
    by_check: dict[str, dict[str, dict[str, Mapping[str, Any]]]] = defaultdict(lambda: defaultdict(dict))
    for row in table.to_pylist():
        by_check[row["check"]][row["model"]][row["example_id"]] = row
    return [_figure(check, by_check[check]) for check in CHECK_NAMES if check in by_check]


def _figure(check: str, by_model: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> CheckFigure:
    candidate = _applying(by_model.get("adapter", {}))
    incumbent = _applying(by_model.get("incumbent") or by_model.get("base", {}))
    both = sorted(candidate.keys() & incumbent.keys())

    def held(rows: Mapping[str, Mapping[str, Any]]) -> float | None:
        return sum(rows[example]["is_held"] for example in both) / len(both) if both else None

    def found(rows: Mapping[str, Mapping[str, Any]]) -> int:
        return sum(rows[example]["found"] for example in both)

    unmatched = len(candidate.keys() ^ incumbent.keys())
    return CheckFigure(
        check, len(both), held(candidate), held(incumbent), found(candidate), found(incumbent), unmatched
    )


def _applying(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return {example: row for example, row in rows.items() if row["is_held"] is not None}


def vetoes(table: pa.Table, gate: GateSettings, checks: Sequence[str] = CHECK_NAMES) -> list[str]:
    """A reason for each check that speaks against the candidate; empty if none does. What was not measured speaks against it."""
    figures = {figure.check: figure for figure in check_figures(table)}
    return [reason for check in checks if (reason := _veto(check, figures.get(check), gate)) is not None]


def _veto(check: str, figure: CheckFigure | None, gate: GateSettings) -> str | None:
    if figure is None:
        return f"The check of {check} was not made."
    if figure.unmatched:
        return f"The check of {check} was made for one of the two models only, on {figure.unmatched} examples."
    if figure.loss is None or figure.loss <= gate.maximum_check_loss + _ROUNDING:
        return None
    return (
        f"Fails the check of {check} more often than what serves: {1 - (figure.candidate_held or 0):.0%} of "
        f"{figure.examples} answers against {1 - (figure.incumbent_held or 0):.0%}; "
        f"{gate.maximum_check_loss:.0%} more are allowed."
    )

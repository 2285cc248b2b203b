"""Deterministic checks of every answer, beside the judge: each is a figure of its own, and each can veto (families.py).

Owns which checks there are, and their table. No model is asked, and no text of an answer leaves: counts only.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import pyarrow as pa

from fine_tune_assets.claims.checking import CHECKS, check_answer
from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.hints import materialize_hint
from fine_tune_assets.core.tables import ANSWER_CHECKS, table_of
from fine_tune_assets.judging.forms import Bounds, format_faults, is_within, length_bounds
from fine_tune_assets.recipes.schema import CheckSettings

OF_THE_INPUT: Final = tuple(CHECKS)
"""What an answer states must be in its input."""
OF_THE_FORM: Final = ("format", "finished", "length")
CHECK_NAMES: Final = (*OF_THE_INPUT, *OF_THE_FORM)


def check_answers(scores: pa.Table, instruction_set: pa.Table, settings: CheckSettings) -> pa.Table:
    """ANSWER_CHECKS: a row for each answer of JUDGE_SCORES and check. Raises GateClosedError for an answer to another example."""
    examples = {row["example_id"]: row for row in instruction_set.to_pylist()}
    tested = {name for name, row in examples.items() if row["split"] == "test"}
    unknown = set(scores.column("example_id").to_pylist()) - tested
    if unknown:
        raise GateClosedError(
            f"{len(unknown)} answers are to examples that this instruction set does not test on. "
            + materialize_hint("judge_scores")
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


def incumbent_in(table: pa.Table) -> str:
    """Fingerprint of what ANSWER_CHECKS compares the candidate with: what serves, else the base model; empty where neither is."""
    by_role = {
        row["model"]: row["model_fingerprint"] for row in table.select(["model", "model_fingerprint"]).to_pylist()
    }
    return str(by_role.get("incumbent") or by_role.get("base") or "")

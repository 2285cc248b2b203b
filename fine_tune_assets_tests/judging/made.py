"""Grades and evidence for tests of the gate, made from a few numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from fine_tune_assets.core.tables import JUDGE_AGREEMENT, JUDGE_SCORES, RETAINED_ABILITIES, table_of
from fine_tune_assets.judging.agreement import DECIDING_MEASURE
from fine_tune_assets.judging.evidence import Candidate, Evidence, Tables, gather
from fine_tune_assets.recipes.loading import load_recipe
from fine_tune_assets.recipes.schema import GateSettings

GATE = replace(load_recipe("demo_smollm2").gate, minimum_examples=20)
STRICT = replace(GATE, harms="shown")
FLOOR = 0.4
CANDIDATE = Candidate("adapter", "base", "set", "recipe", "base")
Grades = Mapping[str, tuple[float | None, float | None]]
"""Example → grade of candidate and incumbent."""


def graded(rows: Grades, patients: Mapping[str, str] | None = None) -> pa.Table:
    """The table judge_scores; each example is a patient's of its own, or as `patients` says."""
    same = {
        "adapter_id": "adapter", "answer": "a", "reason": "r", "unsupported_numbers": 0, "is_finished": True,
        "judge_version": "judge",
    }  # fmt: skip
    return table_of(
        [
            {**same, "model": model, "model_fingerprint": model, "score": score}
            | {"example_id": example, "patient_key": (patients or {}).get(example, example)}
            for example, pair in rows.items()
            for model, score in zip(("adapter", "base"), pair, strict=True)
        ],
        JUDGE_SCORES,
    )


def gains(differences: Sequence[float], incumbent: float = 4.0) -> dict[str, tuple[float | None, float | None]]:
    return {f"e{i:03}": (incumbent + difference, incumbent) for i, difference in enumerate(differences)}


def agreement(spearman: float = 0.5, judge: str = "judge") -> pa.Table:
    row = {"labelled_set": "l", "human_measure": DECIDING_MEASURE, "answers": 200, "spearman": spearman}
    return table_of([{**row, "low": 0.3, "high": 0.7, "judge_version": judge}], JUDGE_AGREEMENT)


def retained(**accuracies: tuple[float, float]) -> pa.Table:
    """Accuracy of base model and candidate on 100 questions of each task."""
    rows = [
        {"ability": name, "adapter_id": "adapter", "items": 100, "base_accuracy": base, "adapter_accuracy": adapter}
        for name, (base, adapter) in accuracies.items()
    ]
    return table_of([{**row, "low": -0.1, "high": 0.1} for row in rows], RETAINED_ABILITIES)


GOOD_GRADES = gains([1.0 + (i % 7 - 3) / 2 for i in range(60)])
GOOD_TABLES = Tables(graded(GOOD_GRADES), agreement(), retained(copa=(0.6, 0.6)))


def evidence(
    tables: Tables = GOOD_TABLES,
    gate: GateSettings = GATE,
    groups: Mapping[str, Sequence[str]] | None = None,
    expected: Mapping[Any, Sequence[str]] | None = None,
    candidate: Candidate = CANDIDATE,
) -> Evidence:
    return gather(candidate, tables, groups or {}, gate, FLOOR, expected or {"abilities": ["copa"]})

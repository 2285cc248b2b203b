"""Grades and evidence for tests of the gate, made from a few numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from fine_tune_assets.judging.contestants.answer_checks import CHECK_NAMES
from fine_tune_assets.judging.contestants.robustness import PROBES
from fine_tune_assets.judging.judges.labelled_sets import DECIDING_MEASURE, RATED_SUMMARIES
from fine_tune_assets.judging.memorization.probe_rows import (
    IDENTIFIERS_IN_ANSWERS,
    REMOVED_IDENTIFIERS,
    probes_table,
)
from fine_tune_assets.judging.verdicts.evidence import Candidate, Evidence, JudgeAsked, Tables, gather
from fine_tune_assets.recipes.loader import load_recipe
from fine_tune_assets.recipes.schema import GateSettings
from fine_tune_assets.tables.judging import (
    AnswerCheck,
    JudgeAgreement,
    JudgeScore,
    MemorizationProbe,
    RetainedAbility,
    RobustnessProbe,
)
from fine_tune_assets.tables.records import table_from, table_of
from fine_tune_assets_tests.made_records import made

GATE = replace(load_recipe("demo_smollm2").gate, minimum_examples=20, requires=("abilities",))
STRICT = replace(GATE, harms="shown")
JUDGE = JudgeAsked("offline", 0.4, ("summary",), {"summary": {RATED_SUMMARIES: "labelled"}})
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
        JudgeScore.SCHEMA,
    )


def gains(differences: Sequence[float], incumbent: float = 4.0) -> dict[str, tuple[float | None, float | None]]:
    return {f"e{i:03}": (incumbent + difference, incumbent) for i, difference in enumerate(differences)}


def agreement(spearman: float = 0.5, judge: str = "judge", labelled: str = "labelled") -> pa.Table:
    row = made(
        JudgeAgreement,
        labelled_set=RATED_SUMMARIES,
        human_measure=DECIDING_MEASURE,
        answers=200,
        spearman=spearman,
        low=0.3,
        high=0.7,
        judge_version=judge,
        set_fingerprint=labelled,
    )
    return table_from(JudgeAgreement, [row])


def retained(**accuracies: tuple[float, float]) -> pa.Table:
    """Accuracy of base model and candidate on 100 questions of each task."""
    rows = [
        {"ability": name, "adapter_id": "adapter", "items": 100, "base_accuracy": base, "adapter_accuracy": adapter}
        for name, (base, adapter) in accuracies.items()
    ]
    return table_of([{**row, "low": -0.1, "high": 0.1} for row in rows], RetainedAbility.SCHEMA)


def checked(scores: pa.Table) -> pa.Table:
    """Every answer holds to every check."""
    named = ("model", "model_fingerprint", "adapter_id", "example_id", "patient_key")
    rows = [{name: row[name] for name in named} for row in scores.to_pylist()]
    return table_of(
        [{**row, "check": check, "is_held": True, "found": 0} for row in rows for check in CHECK_NAMES],
        AnswerCheck.SCHEMA,
    )


def robust(adapter_id: str = "adapter", **held: int) -> pa.Table:
    """Of 20 items of each probe; `held`: probe → items that the candidate holds."""
    rows = [
        {"probe": probe, "adapter_id": adapter_id, "items": 20, "held": held.get(probe, 20), "base_held": 20}
        for probe in PROBES
    ]
    return table_of(rows, RobustnessProbe.SCHEMA)


def remembered(adapter_id: str = "adapter", **figures: Any) -> pa.Table:
    """Nothing came back of what is read once, all of what is read 16 times; `figures` change the row that decides."""
    clean = {"decides": True, "items": 20, "extracted": 0, "is_clean": True, "why": "Nothing came back."}
    once = {**clean, "p_value": 0.3, "p_limit": 0.01, "repeats": 1, **figures}
    often = {
        "extracted": 20,
        "is_clean": False,
        "why": "20 came back.",
        "p_value": 1e-6,
        "p_limit": 0.01,
        "repeats": 16,
    }
    probes = {
        "canaries_1": once, "canaries_16": {**clean, **often, "decides": False},
        REMOVED_IDENTIFIERS: clean, IDENTIFIERS_IN_ANSWERS: clean,
    }  # fmt: skip
    return probes_table(
        [made(MemorizationProbe, probe=probe, adapter_id=adapter_id, **row) for probe, row in probes.items()]
    )


GOOD_GRADES = gains([1.0 + (i % 7 - 3) / 2 for i in range(60)])
GOOD_TABLES = Tables(graded(GOOD_GRADES), agreement(), retained(copa=(0.6, 0.6)))


def evidence(
    tables: Tables = GOOD_TABLES,
    gate: GateSettings = GATE,
    groups: Mapping[str, Sequence[str]] | None = None,
    expected: Mapping[Any, Sequence[str]] | None = None,
    candidate: Candidate = CANDIDATE,
) -> Evidence:
    return gather(candidate, tables, groups or {}, gate, JUDGE, expected or {"abilities": ["copa"]})

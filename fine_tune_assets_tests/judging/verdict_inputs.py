"""Grades and evidence for tests of the promotion rule."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from fine_tune_assets.judging.evaluation.deterministic_checks import CHECK_NAMES
from fine_tune_assets.judging.evaluation.example_selection import AskedExamples
from fine_tune_assets.judging.evaluation.robustness_cases import PROBES
from fine_tune_assets.judging.judges.labelled_sets import DECIDING_MEASURE, RATED_SUMMARIES
from fine_tune_assets.judging.judges.rubrics import read_rubric
from fine_tune_assets.judging.memorization.memorization_rows import (
    IDENTIFIERS_IN_ANSWERS,
    REMOVED_IDENTIFIERS,
    probes_table,
)
from fine_tune_assets.judging.verdicts.evidence import Candidate, Evidence, EvidenceTables, gather_evidence
from fine_tune_assets.judging.verdicts.example_reuse import VerdictHistory
from fine_tune_assets.judging.verdicts.judge_status import JudgeRequirements
from fine_tune_assets.judging.verdicts.subgroups import ExampleGroups
from fine_tune_assets.recipes.loader import load_recipe
from fine_tune_assets.recipes.schema import GateSettings
from fine_tune_assets.tables.judging_rows import (
    AnswerCheck,
    DocumentAnswer,
    JudgeAgreement,
    JudgeScore,
    MemorizationResult,
    RetainedAbility,
    RobustnessResult,
)
from fine_tune_assets.tables.record_classes import table_from_records, table_from_rows
from fine_tune_assets_tests.record_factory import made

GATE = replace(load_recipe("demo_smollm2").gate, minimum_examples=20, requires=("abilities",))
STRICT = replace(GATE, regression_evidence="interval")
COMPLETENESS = tuple(one for one in read_rubric("general", "clinical") if one.name == "completeness")
JUDGE = JudgeRequirements("verifier", 0.4, ("summary",), {"summary": {RATED_SUMMARIES: "labelled"}}, COMPLETENESS)
FIRST_TEST = VerdictHistory(AskedExamples(), verdicts_this_year=1)
CANDIDATE = Candidate("adapter", "base", "set", "recipe", "base")
Grades = Mapping[str, tuple[float | None, float | None]]
"""Example → grade of candidate and incumbent."""


def graded(rows: Grades, subjects: Mapping[str, str] | None = None) -> pa.Table:
    """The table judge_scores, with one subject per example unless `subjects` says otherwise. Only completeness is graded."""
    same = {
        "adapter_id": "adapter", "answer": "a", "reason": "r", "unsupported_numbers": 0, "is_finished": True,
        "judge_version": "judge",
    }  # fmt: skip
    return table_from_rows(
        [
            {**same, "model": model, "model_fingerprint": model, "score": score}
            | {"example_id": example, "subject_key": (subjects or {}).get(example, example), **criteria(score)}
            for example, pair in rows.items()
            for model, score in zip(("adapter", "base"), pair, strict=True)
        ],
        JudgeScore.SCHEMA,
    )


def criteria(score: float | None) -> dict[str, str]:
    """The column `criteria` of an answer with this grade of completeness."""
    return {} if score is None else {"criteria": json.dumps({"completeness": {"score": score}})}


def gains(differences: Sequence[float], incumbent: float = 4.0) -> dict[str, tuple[float | None, float | None]]:
    return {f"e{i:03}": (incumbent + difference, incumbent) for i, difference in enumerate(differences)}


def agreement(spearman: float = 0.5, judge: str = "judge", labelled: str = "labelled") -> pa.Table:
    """The judge's agreement with clinicians, overall and about completeness."""
    rows = [
        made(
            JudgeAgreement,
            labelled_set=RATED_SUMMARIES,
            criterion=criterion,
            human_measure=measure,
            answer_count=200,
            spearman=value,
            spearman_low=value - 0.05,
            spearman_high=value + 0.05,
            judge_version=judge,
            labelled_set_fingerprint=labelled,
        )
        for criterion, measure, value in (
            (None, DECIDING_MEASURE, spearman),
            ("completeness", "FactualRecall", spearman),
            ("completeness", "OmissionRate", -spearman),
        )
    ]
    return table_from_records(JudgeAgreement, rows)


def retained(**accuracies: tuple[float, float]) -> pa.Table:
    """Accuracies of base model and candidate, on 100 questions per task, with as many discordant answers as they allow."""
    rows = [
        {
            "ability": name,
            "adapter_id": "adapter",
            "question_count": 100,
            "base_accuracy": base,
            "adapter_accuracy": adapter,
            **dict(
                zip(("base_only_correct", "adapter_only_correct"), _most_discordant(100, base, adapter), strict=True)
            ),
        }
        for name, (base, adapter) in accuracies.items()
    ]
    return table_from_rows([{**row, "low": -0.1, "high": 0.1} for row in rows], RetainedAbility.SCHEMA)


def _most_discordant(items: int, base: float, adapter: float) -> tuple[int, int]:
    if not 0 <= adapter <= 1:
        return 0, 0
    better = min(items - round(base * items), round(adapter * items))
    return better + round(base * items) - round(adapter * items), better


def checked(scores: pa.Table) -> pa.Table:
    """Every answer passes every check."""
    named = ("model", "model_fingerprint", "adapter_id", "example_id", "subject_key")
    rows = [{name: row[name] for name in named} for row in scores.to_pylist()]
    return table_from_rows(
        [{**row, "check": check, "is_passed": True, "violation_count": 0} for row in rows for check in CHECK_NAMES],
        AnswerCheck.SCHEMA,
    )


def robust(adapter_id: str = "adapter", **passed: int) -> pa.Table:
    """20 items per case. `passed`: case → items that the candidate passes."""
    rows = [
        {
            "case": case,
            "adapter_id": adapter_id,
            "input_count": 20,
            "passed_count": passed.get(case, 20),
            "base_passed_count": 20,
            "base_only_passed_count": 20 - passed.get(case, 20),
            "candidate_only_passed_count": 0,
        }
        for case in PROBES
    ]
    return table_from_rows(rows, RobustnessResult.SCHEMA)


def from_documents(questions: int = 60, adapter_id: str = "adapter", base_id: str = "base", **failed: int) -> pa.Table:
    """Answers of candidate and base model to questions with and without their passage.

    `failed`: column → number of questions that the candidate fails.
    """
    right = [
        made(
            DocumentAnswer,
            model=model,
            model_fingerprint=fingerprint,
            adapter_id=adapter_id,
            question_id=f"q{number}",
            document=f"d{number}",
            is_answerable=is_answerable,
            is_refusal=not is_answerable,
            is_cited=is_answerable,
            is_grounded=True,
        )
        for model, fingerprint in (("adapter", adapter_id), ("base", base_id))
        for is_answerable in (True, False)
        for number in range(questions)
    ]
    rows = [
        replace(row, **{name: False for name, count in failed.items() if row.question_id in _first(count)})
        if row.model == "adapter"
        else row
        for row in right
    ]
    return table_from_records(DocumentAnswer, rows)


def _first(count: int) -> set[str]:
    return {f"q{number}" for number in range(count)}


def remembered(adapter_id: str = "adapter", **changes: Any) -> pa.Table:
    """No secret of level 1 was extracted, all of level 16 were. `changes` apply to the gating row of level 1."""
    clean = {
        "is_gating": True,
        "item_count": 20,
        "extracted_count": 0,
        "is_clean": True,
        "reason": "0 of 20 were extracted.",
    }
    once = {**clean, "p_value": 0.3, "significance_level": 0.01, "repeat_count": 1, **changes}
    often = {
        "extracted_count": 20,
        "is_clean": False,
        "reason": "20 of 20 were extracted.",
        "p_value": 1e-6,
        "significance_level": 0.01,
        "repeat_count": 16,
    }
    probes = {
        "planted_secrets_1": once, "planted_secrets_16": {**clean, **often, "is_gating": False},
        REMOVED_IDENTIFIERS: clean, IDENTIFIERS_IN_ANSWERS: clean,
    }  # fmt: skip
    return probes_table(
        [made(MemorizationResult, test=probe, adapter_id=adapter_id, **row) for probe, row in probes.items()]
    )


GOOD_GRADES = gains([1.0 + (i % 7 - 3) / 2 for i in range(60)])
GOOD_TABLES = EvidenceTables(graded(GOOD_GRADES), agreement(), retained(copa=(0.6, 0.6)))


def evidence(
    tables: EvidenceTables = GOOD_TABLES,
    gate: GateSettings = GATE,
    groups: Mapping[str, Sequence[str]] | None = None,
    expected: Mapping[Any, Sequence[str]] | None = None,
    candidate: Candidate = CANDIDATE,
    tasks: Mapping[str, Sequence[str]] | None = None,
    history: VerdictHistory = FIRST_TEST,
) -> Evidence:
    """`tasks`: task of the recipe → its examples; one task with all of them if absent."""
    tasks = tasks or {"summary": sorted(set(tables.judge_scores["example_id"].to_pylist()))}
    found = ExampleGroups(tasks, groups or {}, tuple(tasks))
    return gather_evidence(candidate, tables, found, gate, JUDGE, expected or {"abilities": ["copa"]}, history)

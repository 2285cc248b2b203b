"""How well the judge agrees with people, measured on answers that experts rated."""

import csv
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.tables import JUDGE_AGREEMENT, table_of
from fine_tune_assets.judging.lexical import grade_answer, judge_version
from fine_tune_assets.judging.statistics import paired_interval, spearman

HUMAN_MEASURES = ("FactualF1", "OmissionRate", "HallucinationRate")
DECIDING_MEASURE = "FactualF1"
"""What the floor of the gate is about. Omission and hallucination are shown beside it."""


def measure_agreement(rated_answers: Path) -> pa.Table:
    """Rank correlation of the judge's grades with each human measure, with bootstrap intervals.

    `rated_answers` is a CSV with the columns Dialogue, Reference Summary, Automatic Summary and the human measures.
    """
    try:
        with rated_answers.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise GateClosedError(
            f"The human-rated answers {rated_answers.name} can't be read: no judge is licensed."
        ) from error
    grades = [_grade(row) for row in rows]
    return table_of(_measures(rated_answers.stem, rows, grades), JUDGE_AGREEMENT)


def _grade(row: dict[str, str]) -> float:
    grade = grade_answer(row["Dialogue"], row["Reference Summary"], row["Automatic Summary"])
    if grade.score is None:
        raise GateClosedError(f"Rated answer {row['ID']} could not be graded: {grade.reason}.")
    return grade.score


def _measures(name: str, rows: list[dict[str, str]], grades: list[float]) -> Iterator[dict[str, Any]]:
    for measure in HUMAN_MEASURES:
        interval = paired_interval(spearman, grades, [float(row[measure]) for row in rows])
        yield {
            "labelled_set": name,
            "human_measure": measure,
            "answers": len(rows),
            "spearman": interval.value,
            "low": interval.low,
            "high": interval.high,
            "judge_version": judge_version(),
        }


def licensed_agreement(table: pa.Table, judge: str) -> float | None:
    """The judge's agreement on the deciding measure, or None when this version of it was not measured.

    Where all ratings are equal there is no correlation (NaN): that measured nothing.
    """
    for row in table.to_pylist():
        if row["human_measure"] == DECIDING_MEASURE and row["judge_version"] == judge:
            return float(row["spearman"]) if math.isfinite(row["spearman"]) else None
    return None

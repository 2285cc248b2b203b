"""Labelled sets: answers that people rated. Judges are measured on them.

Reads the shipped set (`data/evaluation/judge`) and converts an installation's own ratings to the same form, sorted so that the
result does not depend on the order of the rows.
"""

import csv
import io
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.fingerprints import fingerprint_bytes, fingerprint_file, fingerprint_json, fingerprint_text
from fine_tune_assets.judging.judges.grades import MAX_SCORE, MIN_SCORE, GradableAnswer
from fine_tune_assets.tables.record_classes import table_from_rows

RATED_SUMMARIES = "rated_summaries"
FITTED_SUMMARIES = "rated_summaries_fitted"
"""The part of the rated summaries on which the judge's weights were fitted. Its figures may be too good, so of both parts the
worse figure counts."""
OWN_EXPERTS = "own_experts"
OWN_MEASURE = "score"
"""The rating of an installation's own experts: 1 to 10."""
OVERALL = ""
"""Stands for the whole answer where ratings are listed by criterion."""
PLANTED = "planted_"
"""Begins the measure of a kind of planted error."""
ALL_PLANTED = f"{PLANTED}all"
DECIDING_MEASURE = "FactualF1"
"""The measure that the gate's floor applies to. The others are informational."""
MEASURES: Mapping[str, tuple[float, float]] = {
    "FactualF1": (0.0, 1.0),
    "OmissionRate": (1.0, 0.0),
    "FactualPrecision": (0.0, 1.0),
    "FactualRecall": (0.0, 1.0),
    "HallucinationRate": (1.0, 0.0),
    OWN_MEASURE: (MIN_SCORE, MAX_SCORE),
}
"""Human measure → its value for the worst and for the best answer."""
CRITERION_MEASURES: Mapping[str, tuple[str, ...]] = {
    "statements": ("FactualPrecision", "HallucinationRate"),
    "reference": ("FactualRecall", "OmissionRate"),
}
"""How a criterion of the rubric is measured → the human measures of the same quality."""
OWN_RATINGS_SCHEMA = pa.schema(
    [
        *(pa.field(name, pa.string(), nullable=name == "reference") for name in GradableAnswer.__dataclass_fields__),
        pa.field("human_score", pa.float64(), nullable=False),
        pa.field("criteria", pa.string(), nullable=False),
    ]
)
_INSTRUCTION = "Write what this part of a conversation between doctor and patient adds to the clinical note."
"""Stands in for an instruction: the models behind the rated summaries were fine-tuned, and no instruction was recorded."""


@dataclass(frozen=True)
class RatedAnswer:
    """One answer and its human ratings."""

    answered: GradableAnswer
    group: str
    """Answers about the same text are resampled together."""
    ratings: Mapping[str, float]
    """Human measure → value."""
    given: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Criterion of the rubric, or OVERALL → each own expert's rating, 1 to 10, sorted."""

    def criterion_rating(self, criterion: str) -> float | None:
        """The own experts' mean rating; None without one."""
        found = self.given.get(criterion)
        return sum(found) / len(found) if found else None


@dataclass(frozen=True)
class OwnRating:
    """One rating by an expert of this installation."""

    task: str
    score: float
    """1 to 10."""
    answered: GradableAnswer
    criteria: Mapping[str, float] = field(default_factory=dict)
    """Criterion of the rubric → 1 to 10; criteria that the expert skipped are absent."""


@dataclass(frozen=True)
class RatedSet:
    """Answers that people rated one by one."""

    name: str
    fingerprint: str
    task: str | None
    """None: the set counts for every task."""
    rows: tuple[RatedAnswer, ...]

    @property
    def measures(self) -> tuple[str, ...]:
        return tuple(name for name in MEASURES if any(name in row.ratings for row in self.rows))


def human_grade(measure: str, value: float) -> float:
    """A human rating on the scale from 1 to 10, 10 for the best."""
    worst, best = MEASURES[measure]
    return MIN_SCORE + (MAX_SCORE - MIN_SCORE) * (value - worst) / (best - worst)


def human_rating(measure: str, grade: float) -> float:
    """The human rating that corresponds to a grade from 1 to 10."""
    worst, best = MEASURES[measure]
    return worst + (best - worst) * (grade - MIN_SCORE) / (MAX_SCORE - MIN_SCORE)


def read_labelled_sets(folder: Path) -> list[RatedSet]:
    """The shipped sets in `folder`. Raises GateClosedError if one can't be read."""
    return [read_rated_summaries(_summaries(folder))]


def current_fingerprints(folder: Path) -> dict[str, str]:
    """Name → current fingerprint of each labelled set in `folder`; missing files are omitted."""
    path = _summaries(folder)
    return {path.stem: fingerprint_file(path)} if path.is_file() else {}


def _summaries(folder: Path) -> Path:
    return folder / f"{RATED_SUMMARIES}.csv"


def read_rated_summaries(path: Path) -> RatedSet:
    """Read a CSV with the columns ID, Dialogue, Reference Summary, Automatic Summary and the human measures."""
    return _read_set(path, _rated_set)


def build_own_expert_sets(ratings: Iterable[OwnRating]) -> list[RatedSet]:
    """Group the ratings of the installation's own experts into one set per task.

    Several ratings of the same answer count once, as their mean.
    """
    tasks: dict[str, list[OwnRating]] = defaultdict(list)
    for rating in ratings:
        tasks[rating.task].append(rating)
    return [_own_expert_set(task, rated) for task, rated in sorted(tasks.items())]


def own_ratings_table(ratings: Iterable[OwnRating]) -> pa.Table:
    """Ratings as a table of OWN_RATINGS_SCHEMA, to send them to a worker."""
    rows = [
        {**vars(one.answered), "task": one.task, "human_score": one.score, "criteria": json.dumps(dict(one.criteria))}
        for one in ratings
    ]
    return table_from_rows(rows, OWN_RATINGS_SCHEMA)


def read_own_ratings(path: Path) -> list[RatedSet]:
    """Read the file of an `own_ratings_table`."""
    rows = pq.read_table(path, schema=OWN_RATINGS_SCHEMA).to_pylist()
    return build_own_expert_sets(
        OwnRating(
            row["task"],
            row.pop("human_score"),
            criteria=json.loads(row.pop("criteria")),
            answered=GradableAnswer(**row),
        )
        for row in rows
    )


def _own_expert_set(task: str, rated: Sequence[OwnRating]) -> RatedSet:
    answers = {_answer_key(one.answered): one.answered for one in rated}
    given: dict[str, dict[str, list[float]]] = {key: defaultdict(list) for key in answers}
    for one in rated:
        for criterion, score in {**one.criteria, OVERALL: one.score}.items():
            given[_answer_key(one.answered)][criterion].append(score)
    rows = [_own_rated_answer(answers[key], found) for key, found in given.items()]
    content = fingerprint_json(
        sorted((key, sorted((name, sorted(scores)) for name, scores in found.items())) for key, found in given.items())
    )
    return RatedSet(OWN_EXPERTS, content, task, _sort_rows(rows))


def _own_rated_answer(answered: GradableAnswer, found: Mapping[str, Sequence[float]]) -> RatedAnswer:
    given = {criterion: tuple(sorted(scores)) for criterion, scores in found.items()}
    overall = sum(given[OVERALL]) / len(given[OVERALL])
    return RatedAnswer(answered, fingerprint_text(answered.input), {OWN_MEASURE: overall}, given)


def _answer_key(answered: GradableAnswer) -> str:
    """Identifies an answer by content, regardless of its id."""
    return fingerprint_json([answered.task, answered.instruction, answered.input, answered.output, answered.reference])


def _sort_rows(rows: Iterable[RatedAnswer]) -> tuple[RatedAnswer, ...]:
    return tuple(sorted(rows, key=lambda row: (row.group, _answer_key(row.answered), sorted(row.ratings.items()))))


def _read_set(path: Path, parse: Any) -> Any:
    try:
        return parse(path.stem, path.read_bytes())
    except OSError as error:
        raise GateClosedError(
            f"The labelled set {path.name} can't be read ({type(error).__name__}), so no judge qualifies. Restore the file."
        ) from error
    except (ValueError, KeyError, TypeError, IndexError) as error:
        # Without the cause, which quotes the row.
        raise GateClosedError(
            f"The labelled set {path.name} is invalid ({type(error).__name__}), so no judge qualifies. Restore the file."
        ) from None


def _rated_set(name: str, content: bytes) -> RatedSet:
    text = io.StringIO(content.decode("utf-8-sig"), newline="")
    rows = [_rated_answer(row) for row in csv.DictReader(text)]
    if not rows:
        raise ValueError("no rows")
    return RatedSet(name, fingerprint_bytes(content), None, _sort_rows(rows))


def _rated_answer(row: Mapping[str, str]) -> RatedAnswer:
    answered = GradableAnswer(
        id=row["ID"],
        task="",
        instruction=_INSTRUCTION,
        input=row["Dialogue"],
        output=row["Automatic Summary"],
        reference=row["Reference Summary"],
    )
    ratings = {name: float(row[name]) for name in MEASURES if name in row}
    return RatedAnswer(answered, fingerprint_text(row["Dialogue"]), ratings)

"""Measures a judge on an installation's own approved examples and ratings, for a domain without shipped ratings."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from fine_tune_assets.core.fingerprints import fingerprint_text
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.judging.judges.grades import EvaluationExample, GradableAnswer, Judge, gradable_answer
from fine_tune_assets.judging.judges.human_agreement import FittedJudge
from fine_tune_assets.judging.judges.labelled_sets import RatedSet
from fine_tune_assets.judging.judges.own_agreement import pooled_rows
from fine_tune_assets.judging.judges.planted_errors.own_error_detection import agreement_rows, grade_own_errors
from fine_tune_assets.judging.judges.planted_errors.own_errors import OwnExample
from fine_tune_assets.judging.judges.rubrics import Rubric
from fine_tune_assets.tables.judging_rows import JudgeAgreement
from fine_tune_assets.tables.record_classes import table_from_rows

_SCHEMA = pa.schema(
    [pa.field("subject", pa.string(), nullable=False)]
    + [pa.field(name, pa.string()) for name in GradableAnswer.__dataclass_fields__]
)


def own_examples(examples: Iterable[EvaluationExample], tasks: Sequence[str]) -> list[OwnExample]:
    """The approved answers of these tasks that have an input, by example id."""
    found = []
    for example in sorted(examples, key=lambda one: one.example_id):
        answered = gradable_answer(example, example.example_id, example.messages[-1].content)
        if example.task in tasks and answered.input.strip():
            found.append(OwnExample(example.subject_key, replace(answered, reference=None)))
    return found


def own_examples_table(examples: Iterable[OwnExample]) -> pa.Table:
    """Examples as a table, to send them to a worker."""
    return table_from_rows([{"subject": one.subject, **vars(one.answered)} for one in examples], _SCHEMA)


def read_own_examples(path: Path) -> list[OwnExample]:
    rows = pq.read_table(path, schema=_SCHEMA).to_pylist()
    return [OwnExample(row.pop("subject"), GradableAnswer(**row)) for row in rows]


def measure_in_domain(
    judge: Judge, examples: Path, ratings: Sequence[RatedSet], rubric: Rubric, progress: Progress
) -> pa.Table:
    """Rows of `judge_agreement`: planted errors by kind, and the agreement with the experts over all tasks.

    Without examples about a record that the judge was trained on.
    """
    own = read_own_examples(examples)
    known = judge.training_groups if isinstance(judge, FittedJudge) else frozenset()
    unseen = [one for one in own if fingerprint_text(one.answered.input) not in known]
    rows = list(pooled_rows(judge, ratings, rubric, progress)) if ratings else []
    for criterion in (one.name for one in rubric if one.measured_by == "statements"):
        found = grade_own_errors(judge, criterion, unseen, progress).summarize()
        rows += agreement_rows(found, own, judge.version, criterion)
    return table_from_rows(rows, JudgeAgreement.SCHEMA)

"""From the ledger's blind ratings to the judge's licence: an installation's own experts give it, and take it."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.fingerprints import fingerprint_text
from fine_tune_assets.core.progress import ignore_progress
from fine_tune_assets.defs.platform.metadata import REASON
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.defs.s07_judge_scores.judge_agreement import judge_is_qualified, own_ratings
from fine_tune_assets.instructions.stored_sets import StoredInstructionSet, write_instruction_set
from fine_tune_assets.judging.__main__ import measure_judge
from fine_tune_assets.judging.judges.human_agreement import measure_agreement
from fine_tune_assets.judging.judges.judge_qualification import MIN_RATINGS
from fine_tune_assets.judging.judges.judge_registry import judge_request, open_judge
from fine_tune_assets.judging.judges.labelled_sets import (
    OWN_EXPERTS,
    OWN_MEASURE,
    own_ratings_table,
    read_own_ratings,
)
from fine_tune_assets.judging.judges.rubrics import read_recipe_rubric
from fine_tune_assets.ledger.reviews.spot_check_ratings import SpotCheck, add_spot_check
from fine_tune_assets.tables.judging_rows import JudgeAgreement, JudgeScore
from fine_tune_assets.tables.record_classes import conform, table_from_rows
from fine_tune_assets.tables.training_rows import Adapter
from fine_tune_assets_tests.conftest import COMPLAINT_TASKS, write_recipe
from fine_tune_assets_tests.instructions.examples import SEARCH, built, example, subjects_in
from fine_tune_assets_tests.lineage.stored_data import filled

REFERENCE = "Walk daily, sleep on the right side, take ibuprofen after meals, and return in three weeks for an x-ray."
WORDS = REFERENCE.split()


@pytest.fixture
def stored(installation_dir: Path) -> StoredInstructionSet:
    write_recipe(installation_dir, tasks=COMPLAINT_TASKS[:1], review={"guidelines": {}})
    task = COMPLAINT_TASKS[0]["name"]
    rows = [
        example(patient, f"Case {i} after a fall on the ice. {REFERENCE}", REFERENCE) | {"task": task}
        for i, patient in enumerate(subjects_in("test", MIN_RATINGS))
    ]
    return write_instruction_set(installation_dir / "instruction_sets", built(extra=rows), {"seed": 7}, SEARCH)


def _rated(stored: StoredInstructionSet, *, as_people: bool) -> None:
    """Answers that tell more and more of the reference; the experts like that, or the contrary."""
    asked = [row for row in stored.table.to_pylist() if row["messages"][-1]["content"] == REFERENCE]
    fixed = {
        "adapter_id": "adapter-1",
        "reason": "r",
        "unsupported_numbers": 0,
        "is_finished": True,
        "judge_version": "j",
    }
    scores = []
    with Installation().ledger() as ledger:
        for i, row in enumerate(asked):
            told = 1 + i % len(WORDS)
            answer = " ".join(WORDS[:told])
            share = told / len(WORDS)
            scores.append(
                {**fixed, "model": "adapter", "model_fingerprint": "adapter-1", "answer": answer, "score": 5.0}
                | {name: row[name] for name in ("example_id", "subject_key", "task")}
            )
            add_spot_check(
                ledger,
                SpotCheck(
                    example_id=row["example_id"],
                    task=row["task"],
                    model_fingerprint="adapter-1",
                    answer_fingerprint=fingerprint_text(answer),
                    subject_key=row["subject_key"],
                    rater="Dr. One",
                    score=round(1 + 9 * (share if as_people else 1 - share)),
                    error_kind="none",
                    criteria={"tone": 7},
                    rated_at=datetime(2026, 3, 1, tzinfo=UTC),
                ),
            )
    layout = Installation().layout
    write_table(layout.table("judge_scores"), table_from_rows(scores, JudgeScore.SCHEMA))
    adapter = {"adapter_id": "adapter-1", "instruction_set_fingerprint": stored.fingerprint}
    write_table(layout.table("adapters"), filled("adapters", [adapter]).cast(Adapter.SCHEMA))


def _measured(folder: Path, **changes: Any) -> pa.Table:
    """By the worker's own function."""
    installation, output = Installation(), folder / "agreement.parquet"
    request = {
        "labelled_sets": str(installation.layout.evaluation / "judge"),
        "own_ratings": "",
        "accept_score": installation.recipe.judge.accept_score,
        "judge": judge_request(installation.settings, installation.recipe),
        "output": str(output),
    }
    measure_judge({**request, **changes}, ignore_progress)
    return conform(pq.read_table(output), JudgeAgreement.SCHEMA)


def _stored_ratings(folder: Path) -> Path:
    path = folder / "own.parquet"
    write_table(path, own_ratings_table(own_ratings(Installation())))
    return path


def _own_rows(table: pa.Table) -> list[dict[str, Any]]:
    return [row for row in table.to_pylist() if row["labelled_set"] == OWN_EXPERTS]


def _measured_on_own(folder: Path) -> pa.Table:
    """On the experts' ratings alone."""
    installation = Installation()
    recipe, sets = installation.recipe, read_own_ratings(_stored_ratings(folder))
    with open_judge(judge_request(installation.settings, recipe)) as judge:
        return measure_agreement(judge, sets, recipe.judge.accept_score, ignore_progress, read_recipe_rubric(recipe))


@pytest.mark.parametrize("as_people", [True, False])
def test_ratings_in_the_ledger_count_for_the_licence(
    stored: StoredInstructionSet, tmp_path: Path, as_people: bool
) -> None:
    """What clinicians elsewhere said is not enough where this hospital's own say the contrary."""
    _rated(stored, as_people=as_people)
    (task,) = {rating.task for rating in own_ratings(Installation())}
    own = _measured_on_own(tmp_path)
    found = judge_is_qualified(
        installation=Installation(), judge_agreement=pa.concat_tables([_measured(tmp_path), own])
    )
    assert isinstance(found, dg.AssetCheckResult)
    (row,) = [row for row in _own_rows(own) if (row["criterion"], row["human_measure"]) == (None, OWN_MEASURE)]
    assert (row["task"], row["answer_count"]) == (task, MIN_RATINGS)
    assert (row["spearman"] > 0.6) is as_people
    assert found.passed is as_people
    assert ("`fine-tune verifier train`" in str(found.metadata.get(REASON))) is not as_people


@pytest.mark.slow
def test_the_worker_measures_own_ratings_with_the_shipped_sets(stored: StoredInstructionSet, tmp_path: Path) -> None:
    """The shipped measurement has no own ratings, so it is not used."""
    _rated(stored, as_people=True)
    together = _measured(tmp_path, own_ratings=str(_stored_ratings(tmp_path)))
    assert _own_rows(together) == _own_rows(_measured_on_own(tmp_path))
    assert {row["labelled_set"] for row in together.to_pylist()} > {OWN_EXPERTS}


def test_a_rating_counts_while_its_answer_is_there(stored: StoredInstructionSet) -> None:
    """If no stored model gives the answer, its text is gone and the rating cannot be used."""
    _rated(stored, as_people=True)
    path = Installation().layout.table("judge_scores")
    rows = pq.read_table(path, partitioning=None).to_pylist()
    (checked,) = [rating for rating in own_ratings(Installation()) if rating.answered.output == rows[4]["answer"]]
    assert checked.answered.reference == REFERENCE
    assert checked.criteria == {"tone": 7}
    rows[4]["answer"] = "Another answer."
    write_table(path, table_from_rows(rows, JudgeScore.SCHEMA))
    assert len(own_ratings(Installation())) == MIN_RATINGS - 1
    path.unlink()
    assert own_ratings(Installation()) == []

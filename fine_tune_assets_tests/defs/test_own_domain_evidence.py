"""From approved examples and blind ratings to the qualification of a judge in a domain without shipped ratings."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.fingerprints import fingerprint_text
from fine_tune_assets.core.progress import ignore_progress
from fine_tune_assets.defs.platform.metadata import REASON
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.defs.s07_judge_scores.judge_agreement import (
    judge_is_qualified,
    own_evidence,
    own_ratings,
    own_test_examples,
)
from fine_tune_assets.defs.sources import report_sources
from fine_tune_assets.instructions.stored_sets import write_instruction_set
from fine_tune_assets.judging.judges.judge_registry import judge_request, open_judge
from fine_tune_assets.judging.judges.labelled_sets import build_own_expert_sets
from fine_tune_assets.judging.judges.own_agreement import pooled_rows
from fine_tune_assets.judging.judges.own_measurement import measure_in_domain, own_examples_table
from fine_tune_assets.judging.judges.rubrics import read_recipe_rubric
from fine_tune_assets.ledger.reviews.spot_check_ratings import SpotCheck, add_spot_check
from fine_tune_assets.tables.judging_rows import JudgeAgreement, JudgeScore
from fine_tune_assets.tables.record_classes import conform, table_from_rows
from fine_tune_assets.tables.training_rows import Adapter
from fine_tune_assets_tests.conftest import COMPLAINT_TASKS, write_recipe
from fine_tune_assets_tests.instructions.examples import SEARCH, built, example, subjects_in
from fine_tune_assets_tests.judging.judges.planted_errors.harbour_reports import harbour_reports
from fine_tune_assets_tests.lineage.stored_data import filled

TASK = str(COMPLAINT_TASKS[0]["name"])
ANSWERS = 36


@pytest.fixture
def installation(installation_dir: Path) -> Installation:
    """Test examples of another domain, and answers that keep more and more of the approved one."""
    write_recipe(
        installation_dir,
        domain="law",
        tasks=COMPLAINT_TASKS[:1],
        review={"guidelines": {}},
        judge={"rubric": "general", "agreement_floor": 0.3},
    )
    rows = [
        example(subject, one.answered.input, one.answered.output) | {"task": TASK}
        for subject, one in zip(subjects_in("test", ANSWERS), harbour_reports(ANSWERS), strict=True)
    ]
    stored = write_instruction_set(installation_dir / "instruction_sets", built(extra=rows), {"seed": 7}, SEARCH)
    layout = Installation().layout
    adapter = {"adapter_id": "adapter-1", "instruction_set_fingerprint": stored.fingerprint}
    write_table(layout.table("adapters"), filled("adapters", [adapter]).cast(Adapter.SCHEMA))
    fixed = {
        "adapter_id": "adapter-1", "model": "adapter", "model_fingerprint": "adapter-1", "reason": "r",
        "unsupported_numbers": 0, "is_finished": True, "judge_version": "j", "score": 5.0,
    }  # fmt: skip
    scores = [
        {**fixed, "answer": _shorten(row["messages"][-1]["content"], number)}
        | {name: row[name] for name in ("example_id", "subject_key", "task")}
        for number, row in enumerate(row for row in stored.table.to_pylist() if row["task"] == TASK)
    ]
    write_table(layout.table("judge_scores"), table_from_rows(scores, JudgeScore.SCHEMA))
    return Installation()


def _shorten(answer: str, number: int) -> str:
    """One to four of the four statements."""
    return ". ".join(answer.split(". ")[: 1 + number % 4]).rstrip(".") + "."


def _rate(installation: Installation, *, as_judge: bool) -> None:
    """Experts who like complete answers, or the contrary."""
    rows = pq.read_table(installation.layout.table("judge_scores"), partitioning=None).to_pylist()
    with installation.ledger() as ledger:
        for row in rows:
            kept = row["answer"].count(".")
            grade = 2 * kept + 1 if as_judge else 10 - 2 * kept
            check = SpotCheck(
                example_id=row["example_id"],
                task=TASK,
                model_fingerprint="adapter-1",
                answer_fingerprint=fingerprint_text(row["answer"]),
                subject_key=row["subject_key"],
                rater="Dr. One",
                score=grade,
                error_kind="none",
                criteria={"completeness": grade},
                rated_at=datetime(2026, 3, 1, tzinfo=UTC),
            )
            add_spot_check(ledger, check)


def _measure(installation: Installation, folder: Path) -> pa.Table:
    """As the worker measures it."""
    examples = folder / "examples.parquet"
    write_table(examples, own_examples_table(own_test_examples(installation)))
    sets = build_own_expert_sets(own_ratings(installation))
    with open_judge(judge_request(installation.settings, installation.recipe)) as judge:
        rubric = read_recipe_rubric(installation.recipe)
        return conform(measure_in_domain(judge, examples, sets, rubric, ignore_progress), JudgeAgreement.SCHEMA)


def _measure_ratings(installation: Installation, planted: pa.Table) -> pa.Table:
    """The same with the experts' ratings, without grading the planted errors again."""
    sets = build_own_expert_sets(own_ratings(installation))
    with open_judge(judge_request(installation.settings, installation.recipe)) as judge:
        rows = list(pooled_rows(judge, sets, read_recipe_rubric(installation.recipe), ignore_progress))
    return pa.concat_tables([planted, table_from_rows(rows, JudgeAgreement.SCHEMA)])


def _check(installation: Installation, table: pa.Table) -> tuple[bool, str]:
    found = judge_is_qualified(installation=installation, judge_agreement=table)
    assert isinstance(found, dg.AssetCheckResult)
    reason: Mapping[str, dg.MetadataValue] = found.metadata
    return found.passed, str(reason[REASON].value) if REASON in reason else ""


@pytest.mark.slow
@pytest.mark.parametrize("as_judge", [True, False])
def test_own_examples_and_ratings_give_the_judge_its_licence_or_refuse_it(
    installation: Installation, tmp_path: Path, as_judge: bool
) -> None:
    """First the ratings are the next step; then they decide."""
    before = _measure(installation, tmp_path)
    measured = {row["human_measure"]: row for row in before.to_pylist()}
    assert {"planted_all", "planted_number", "planted_negation", "planted_other_report"} <= set(measured)
    passed, reason = _check(installation, before)
    assert (passed, "Rate 34 more answers" in reason) == (False, True)
    _rate(installation, as_judge=as_judge)
    passed, reason = _check(installation, before)
    assert (passed, "`fine-tune materialize judge_agreement`" in reason) == (False, True)
    passed, reason = _check(installation, _measure_ratings(installation, before))
    assert passed is as_judge
    assert ("`fine-tune verifier adapt`" in reason) is not as_judge


def test_other_test_examples_need_another_measurement(installation: Installation) -> None:
    """A judge was measured on what it judges: other examples have another fingerprint, and the adaptation counts for one only."""
    own = own_evidence(installation)
    assert (own.subjects, own.adapted, own.rated) == (ANSWERS, None, {TASK: 0})
    installation.layout.table("adapters").unlink()
    changed = own_evidence(installation)
    assert changed.examples != own.examples
    assert changed.subjects == 0


def test_new_answers_in_such_a_domain_measure_the_judge_again(installation: Installation) -> None:
    """The version of `expert_ratings` starts the measurement, before anybody has rated."""
    with dg.DagsterInstance.ephemeral() as instance:

        def version() -> str | None:
            found = report_sources(instance, installation, lambda _: None)
            events = found.asset_events if isinstance(found, dg.SensorResult) else []
            return next(
                (json.dumps(dict(one.tags or {})) for one in events if one.asset_key.path[-1] == "expert_ratings"), None
            )

        assert version() is not None
        path = installation.layout.table("judge_scores")
        rows = pq.read_table(path, partitioning=None).to_pylist()
        write_table(path, table_from_rows(rows[1:], JudgeScore.SCHEMA))
        assert version() is not None

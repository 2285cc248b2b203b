"""The judge's licence as Dagster shows it: it closes for whatever the judge was not measured on."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from fine_tune_assets.core.files import write_table
from fine_tune_assets.defs.platform.metadata import REASON
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.defs.s07_judge_scores.judge_agreement import judge_is_qualified
from fine_tune_assets.judging.judges.labelled_sets import current_fingerprints
from fine_tune_assets.tables.judging_rows import JudgeAgreement
from fine_tune_assets.tables.record_classes import table_from_rows
from fine_tune_assets.tables.training_rows import Adapter
from fine_tune_assets_tests.conftest import write_recipe
from fine_tune_assets_tests.judging.verdict_inputs import agreement
from fine_tune_assets_tests.lineage.stored_data import filled


def _rated(spearman: float | None = 0.6, **changes: Any) -> list[dict[str, Any]]:
    """The judge's agreement with clinicians, overall and about completeness."""
    ratings = current_fingerprints(Installation().layout.evaluation / "judge")["rated_summaries"]
    overall, *completeness = agreement(0.6, labelled=ratings).to_pylist()
    return [{**overall, "spearman": spearman, **changes}, *completeness]


def _check(*rows: dict[str, Any]) -> dg.AssetCheckResult:
    found = judge_is_qualified(
        installation=Installation(), judge_agreement=table_from_rows(rows, JudgeAgreement.SCHEMA)
    )
    assert isinstance(found, dg.AssetCheckResult)
    return found


@pytest.fixture
def adapter(installation_dir: Path) -> Path:  # noqa: ARG001
    """A candidate to judge."""
    path = Installation().layout.table("adapters")
    write_table(path, filled("adapters", [{"adapter_id": "adapter-1"}]).cast(Adapter.SCHEMA))
    return path


@pytest.mark.usefixtures("adapter")
def test_before_the_first_candidate_the_check_is_a_warning_and_not_passed(adapter: Path) -> None:
    """A red check on the first day says that something is broken; a passed one would say that the judge may decide."""
    unqualified = _rated(spearman_low=0.1)
    assert _check(*unqualified).severity == dg.AssetCheckSeverity.ERROR
    adapter.unlink()
    found = _check(*unqualified)
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "Not needed yet" in str(found.metadata[REASON].value)
    assert "`fine-tune verifier train`" in str(found.metadata["until_then"].value)
    assert _check(*_rated()).passed


@pytest.mark.usefixtures("installation_dir")
def test_a_judge_that_agrees_with_clinicians_may_decide() -> None:
    found = _check(*_rated())
    assert found.passed
    assert found.metadata["agreement"].value == 0.6


@pytest.mark.usefixtures("adapter")
@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"judge_version": "another"}, "`fine-tune materialize judge_agreement`"),
        ({"spearman_low": 0.1}, "`fine-tune verifier train`"),
        ({"spearman": None, "missing_reason": "grades or ratings are all alike"}, "all alike"),
        ({"labelled_set_fingerprint": "older ratings"}, "rated_summaries"),
    ],
)
def test_the_check_closes(changes: dict[str, Any], why: str) -> None:
    found = _check(*_rated(**changes))
    assert not found.passed
    assert why in str(found.metadata[REASON].value)


@pytest.mark.usefixtures("adapter")
def test_own_experts_who_disagree_about_one_task_close_it_for_that_task() -> None:
    """And the reason names the task."""
    task = Installation().recipe.tasks[0].name
    own = {"labelled_set": "own_experts", "human_measure": "score", "task": task, "answer_count": 30, "spearman": 0.0}
    found = _check(*_rated(), {**_rated()[0], **own, "labelled_set_fingerprint": "own"})
    assert not found.passed
    assert str(found.metadata[REASON].value).startswith(f"{task}: ")


def test_a_higher_floor_closes_it(installation_dir: Path) -> None:
    write_recipe(installation_dir, judge={"agreement_floor": 0.9})
    assert not _check(*_rated()).passed

"""The judge's licence as Dagster shows it: it closes for whatever the judge was not measured on."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from fine_tune_assets.defs.platform.metadata import WHY
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.defs.s07_judge_scores.judge_agreement import judge_may_decide
from fine_tune_assets.judging.judges.labelled_sets import present_fingerprints
from fine_tune_assets.judging.judges.offline_judge import offline_judge
from fine_tune_assets.tables.judging import JudgeAgreement
from fine_tune_assets.tables.records import table_of
from fine_tune_assets_tests.conftest import write_recipe


def _rated(**changes: Any) -> dict[str, Any]:
    folder = Installation().layout.evaluation / "judge"
    return {
        "labelled_set": "rated_summaries",
        "human_measure": "FactualF1",
        "answers": 100,
        "missing": 0,
        "spearman": 0.6,
        "judge_version": offline_judge().version,
        "set_fingerprint": present_fingerprints(folder)["rated_summaries"],
        **changes,
    }


def _check(*rows: dict[str, Any]) -> dg.AssetCheckResult:
    found = judge_may_decide(installation=Installation(), judge_agreement=table_of(rows, JudgeAgreement.SCHEMA))
    assert isinstance(found, dg.AssetCheckResult)
    return found


@pytest.mark.usefixtures("installation_dir")
def test_a_judge_that_agrees_with_clinicians_may_decide() -> None:
    found = _check(_rated())
    assert found.passed
    assert found.metadata["agreement"].value == 0.6


@pytest.mark.usefixtures("installation_dir")
@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"judge_version": "another"}, "not measured against experts"),
        ({"spearman": 0.1}, "below"),
        ({"spearman": None, "why": "grades or ratings are all alike"}, "all alike"),
        ({"set_fingerprint": "older ratings"}, "rated_summaries changed"),
    ],
)
def test_the_check_closes(changes: dict[str, Any], why: str) -> None:
    found = _check(_rated(**changes))
    assert not found.passed
    assert why in str(found.metadata[WHY].value)


@pytest.mark.usefixtures("installation_dir")
def test_own_experts_who_disagree_about_one_task_close_it_for_that_task() -> None:
    """And the reason names the task."""
    task = Installation().recipe.tasks[0].name
    own = {"labelled_set": "own_experts", "human_measure": "score", "task": task, "answers": 30, "spearman": 0.0}
    found = _check(_rated(), _rated(**own, set_fingerprint="own"))
    assert not found.passed
    assert str(found.metadata[WHY].value).startswith(f"{task}: ")


def test_a_higher_floor_closes_it(installation_dir: Path) -> None:
    write_recipe(installation_dir, judge={"agreement_floor": 0.9})
    assert not _check(_rated()).passed

"""The checks beside the tables of abilities and robustness: they say what the verdict says, and close with it."""

import dagster as dg
import pytest

from fine_tune_assets.defs.platform.metadata import WHY
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.defs.s07_judge_scores.judge_scores import abilities_are_within_budget, question_files
from fine_tune_assets.defs.s07_judge_scores.robustness_probes import candidate_is_as_robust_as_its_base
from fine_tune_assets.judging.contestants.robustness import EMPTY
from fine_tune_assets.tables.judging import RobustnessProbe
from fine_tune_assets_tests.judging.made import retained, robust

pytestmark = pytest.mark.usefixtures("installation_dir")


def _abilities(**changed: tuple[float, float]) -> dg.AssetCheckResult:
    same = {path.stem: (0.6, 0.6) for path in question_files(Installation())}
    table = retained(**{**same, **changed})
    found = abilities_are_within_budget(installation=Installation(), retained_abilities=table)
    assert isinstance(found, dg.AssetCheckResult)
    return found


def test_abilities_that_were_kept_pass_and_a_lost_one_closes_the_check() -> None:
    assert _abilities().passed
    lost = _abilities(copa=(0.9, 0.3))
    assert not lost.passed
    assert "Forgets copa: 0.90 before, 0.30 after" in str(lost.metadata[WHY].value)


def test_a_task_whose_questions_are_there_and_that_was_not_asked_closes_the_check() -> None:
    """A verdict misses it too."""
    found = abilities_are_within_budget(installation=Installation(), retained_abilities=retained(copa=(0.6, 0.6)))
    assert isinstance(found, dg.AssetCheckResult)
    assert not found.passed
    assert "boolq was not measured" in str(found.metadata[WHY].value)


@pytest.mark.parametrize(
    ("held", "why"), [({EMPTY: 0}, "Less robust (empty_input)"), (None, "Robustness was not probed.")]
)
def test_a_candidate_that_is_thrown_or_was_not_probed_closes_the_check(held: dict[str, int] | None, why: str) -> None:
    table = RobustnessProbe.SCHEMA.empty_table() if held is None else robust(**held)
    clean, found = (
        candidate_is_as_robust_as_its_base(installation=Installation(), robustness_probes=one)
        for one in (robust(), table)
    )
    assert isinstance(clean, dg.AssetCheckResult)
    assert isinstance(found, dg.AssetCheckResult)
    assert clean.passed
    assert not found.passed
    assert why in str(found.metadata[WHY].value)

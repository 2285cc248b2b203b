"""The checks of the tables of abilities, robustness and answers from documents agree with the verdict and fail with it."""

from pathlib import Path

import dagster as dg
import pytest

from fine_tune_assets.defs.platform.metadata import REASON
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.defs.s07_judge_scores.document_answers import documents_are_answered_from
from fine_tune_assets.defs.s07_judge_scores.judge_scores import abilities_are_within_budget, question_files
from fine_tune_assets.defs.s07_judge_scores.robustness_results import candidate_is_as_robust_as_base_model
from fine_tune_assets.judging.evaluation.robustness_cases import EMPTY
from fine_tune_assets.tables.judging_rows import DocumentAnswer, RobustnessResult
from fine_tune_assets_tests.conftest import write_recipe
from fine_tune_assets_tests.judging.verdict_inputs import from_documents, retained, robust

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
    assert all(part in str(lost.metadata[REASON].value) for part in ("copa", "0.90", "0.30"))


def test_a_task_with_questions_but_without_answers_closes_the_check() -> None:
    """A verdict misses it too."""
    found = abilities_are_within_budget(installation=Installation(), retained_abilities=retained(copa=(0.6, 0.6)))
    assert isinstance(found, dg.AssetCheckResult)
    assert not found.passed
    assert "boolq (abilities)" in str(found.metadata[REASON].value)


@pytest.mark.parametrize(
    ("held", "why"), [({EMPTY: 0}, "(empty_input)"), (None, "`fine-tune materialize robustness_results`")]
)
def test_a_candidate_that_is_thrown_or_was_not_probed_closes_the_check(held: dict[str, int] | None, why: str) -> None:
    table = RobustnessResult.SCHEMA.empty_table() if held is None else robust(**held)
    clean, found = (
        candidate_is_as_robust_as_base_model(installation=Installation(), robustness_results=one)
        for one in (robust(), table)
    )
    assert isinstance(clean, dg.AssetCheckResult)
    assert isinstance(found, dg.AssetCheckResult)
    assert clean.passed
    assert not found.passed
    assert why in str(found.metadata[REASON].value)


@pytest.mark.parametrize(("is_enabled", "passes"), [(True, [True, False, False]), (False, [True, True, True])])
def test_lost_or_missing_answers_from_documents_close_the_check(
    installation_dir: Path, is_enabled: bool, passes: list[bool]
) -> None:
    """Without retrieval, nothing is measured and nothing is missing."""
    write_recipe(installation_dir, retrieval={"enabled": is_enabled})
    worse = from_documents(is_cited=40) if is_enabled else DocumentAnswer.SCHEMA.empty_table()
    found = [
        documents_are_answered_from(installation=Installation(), document_answers=table)
        for table in (from_documents(), worse, DocumentAnswer.SCHEMA.empty_table())
    ]
    assert [isinstance(one, dg.AssetCheckResult) and one.passed for one in found] == passes

"""Reasons of a verdict: each names the measurement, the limit and the next step."""

from dataclasses import replace

import pytest

from fine_tune_assets.judging.statistics.binary_pairs import BinaryPairs
from fine_tune_assets.judging.verdicts.verdict_metrics import Family, missing_metric, share_metric
from fine_tune_assets.judging.verdicts.verdict_reasons import failure, not_shown, worse_than_allowed

LOSS = replace(
    share_metric("checks", "doses", BinaryPairs(40, 12, 2), (0.65, 0.9), 40, 0.1), adjusted_p=0.04, outcome="unknown"
)


def test_a_reason_names_measurement_limit_and_next_step() -> None:
    for reason in (failure(LOSS), worse_than_allowed(LOSS), not_shown(LOSS)):
        for part in ("doses", "0.90", "0.65", "40 items", "a loss of 0.10"):
            assert part in reason
        assert "None" not in reason
    assert "train again" in failure(LOSS)
    assert f"{LOSS.needed_items} items" in worse_than_allowed(LOSS)


def test_a_loss_beyond_its_limit_that_is_not_significant_after_holm_says_so() -> None:
    """Its interval lies beyond the limit, which would contradict a plain "not significant"."""
    beyond = replace(LOSS, low=-0.4, high=-0.15)
    assert "Holm, adjusted p 0.0400" in worse_than_allowed(beyond)
    assert "Holm" not in worse_than_allowed(replace(beyond, high=-0.05))


def test_a_loss_beyond_its_limit_only_by_missing_grades_says_so() -> None:
    """The measured difference is within the limit, so the reason must not claim otherwise."""
    within = replace(LOSS, family="subgroups", unit="points", difference=-0.05, low=-0.2, high=0.1)
    assert "`fine-tune materialize judge_scores`" in worse_than_allowed(within)


@pytest.mark.parametrize(
    ("family", "asset"),
    [
        ("abilities", "retained_abilities"),
        ("checks", "answer_checks"),
        ("safety", "memorization_results"),
        ("robustness", "robustness_results"),
        ("documents", "document_answers"),
        ("subgroups", "judge_scores"),
    ],
)
def test_a_missing_metric_names_the_asset_to_materialize(family: Family, asset: str) -> None:
    reason = worse_than_allowed(missing_metric(family, "a", "Why.", 0.1))
    assert f"`fine-tune materialize {asset}`" in reason
    assert "Why." in reason

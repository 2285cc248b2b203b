"""Cohen's kappa against published values, the pairing of decisions, and insufficient evidence."""

import itertools
from dataclasses import replace
from datetime import timedelta

import pytest

from fine_tune_assets.approval.reviewer_agreement import (
    Agreement,
    compute_agreement,
    evaluate_agreement,
    pair_decisions,
    summarize_agreement,
)
from fine_tune_assets.ledger.reviews.decision_records import DecisionSummary
from fine_tune_assets_tests.approval.examples import ONE, START, TWO

# 85 mammograms read by two radiologists (Boyd et al. 1982), the example in Stata's manual of `kap`: agreement 63.53 %, expected
# agreement 30.82 %, kappa 0.4728.
MAMMOGRAMS = {
    "normal": {"normal": 21, "benign": 12},
    "benign": {"normal": 4, "benign": 17, "suspect": 1},
    "suspect": {"normal": 3, "benign": 9, "suspect": 15, "cancer": 2},
    "cancer": {"cancer": 1},
}


def of_table(table: dict[str, dict[str, int]]) -> Agreement:
    counted = [((one, other), count) for one, row in table.items() for other, count in row.items()]
    return compute_agreement([pair for pair, count in counted for _ in range(count)])


def test_kappa_matches_the_published_value() -> None:
    """A wrong formula would look just as plausible."""
    found = of_table(MAMMOGRAMS)
    assert found.pairs == 85
    assert found.raw == pytest.approx(0.6353, abs=5e-5)
    assert found.kappa == pytest.approx(0.4728, abs=5e-5)


def test_interval_is_wilsons_on_the_scale_of_kappa() -> None:
    """54 of 85: Wilson's 95 % interval is 0.5292 to 0.7297, by hand; chance agreement is 2227 / 7225."""
    found, chance = of_table(MAMMOGRAMS), 2227 / 7225
    assert (found.raw_low, found.raw_high) == (pytest.approx(0.5292, abs=5e-4), pytest.approx(0.7297, abs=5e-4))
    assert found.kappa_low == pytest.approx((0.5292 - chance) / (1 - chance), abs=1e-3)
    assert found.kappa_high == pytest.approx((0.7297 - chance) / (1 - chance), abs=1e-3)


def test_few_pairs_that_all_agree_have_a_wide_interval() -> None:
    """Five agreements prove little; an interval from 1 to 1 would claim certainty."""
    found = compute_agreement([("approve", "approve")] * 3 + [("reject", "reject")] * 2)
    assert found.kappa == 1.0
    assert found.kappa_low is not None
    assert found.kappa_low < 0.2


def test_agreement_by_chance_is_zero_and_worse_is_negative() -> None:
    """The scale of kappa."""
    even = {"approve": {"approve": 1, "reject": 1}, "reject": {"approve": 1, "reject": 1}}
    assert of_table(even).kappa == pytest.approx(0.0, abs=1e-12)
    assert of_table({"approve": {"reject": 5}, "reject": {"approve": 5}}).kappa == pytest.approx(-1.0, abs=1e-12)


@pytest.mark.parametrize("pairs", [[], [("approve", "approve")] * 40])
def test_undefined_kappa_is_absent_with_a_reason(pairs: list[tuple[str, str]]) -> None:
    """Neither 0 nor 1: two reviewers who approve everything prove nothing."""
    found = compute_agreement(pairs)
    assert (found.kappa, found.kappa_low, found.kappa_high) == (None, None, None)
    assert found.reason


_minutes = itertools.count()


def _on(
    content: str, kind: str, who: str, repaired: bool = False, revoked: int | None = None, **more: str
) -> DecisionSummary:
    """A decision in the next minute, optionally revoked some minutes later."""
    said_at = START + timedelta(minutes=next(_minutes))
    revoked_at = None if revoked is None else said_at + timedelta(minutes=revoked)
    fields = {"task": "plan", "role": "review", **more}
    return DecisionSummary(content, fields["task"], who, kind, repaired, fields["role"], said_at, revoked_at)


def test_pair_is_the_first_decisions_of_the_first_two_people() -> None:
    """Later decisions may know of others, and adjudications do."""
    words = [
        _on("c1", "approve", "Ann"),
        _on("c2", "reject", "Ann"),
        _on("c1", "reject", "Ben"),
        _on("c1", "approve", "ben"),
        _on("c1", "approve", "Cleo"),
        _on("c2", "approve", "Ben", role="adjudicate"),
    ]
    (pair,) = pair_decisions(words)
    assert (pair.first, pair.second, pair.first_category, pair.second_category) == ("Ann", "Ben", "approve", "reject")


def test_revocation_after_the_other_decision_does_not_improve_agreement() -> None:
    """A reviewer who saw the other decision could copy it; an early revocation is not a disagreement."""
    seen = [_on("c1", "approve", "Ann", revoked=5), _on("c1", "reject", "Ben"), _on("c1", "reject", "Ann")]
    in_time = [_on("c2", "approve", "Ann", revoked=1), _on("c2", "reject", "Ann"), _on("c2", "reject", "Ben")]
    both = [_on("c3", "approve", "Ann", revoked=5), _on("c3", "reject", "Ben", revoked=5), _on("c3", "reject", "Ann")]
    assert [pair.first_category == pair.second_category for pair in pair_decisions([*seen, *in_time, *both])] == [
        False,
        True,
    ]


def test_agreement_is_reported_by_task_reviewer_and_pair() -> None:
    """A team can act on who deviates and where."""
    decisions = [
        *(_on("c1", "approve", "Ann"), _on("c1", "approve", "Ben")),
        *(_on("c2", "reject", "Ben"), _on("c2", "reject", "ann")),
        *(_on("c3", "approve", "Ann", task="summary"), _on("c3", "approve", "Cleo", True, task="summary")),
    ]
    report = summarize_agreement(pair_decisions(decisions))
    assert (report.overall.pairs, report.overall.raw) == (3, pytest.approx(2 / 3, abs=1e-9))
    assert {name: found.raw for name, found in report.by_task.items()} == {"plan": 1.0, "summary": 0.0}
    assert {name: found.pairs for name, found in report.by_reviewer.items()} == {"Ann": 3, "Ben": 2, "Cleo": 1}
    assert {names: found.raw for names, found in report.by_pair.items()} == {("Ann", "Ben"): 1.0, ("Ann", "Cleo"): 0.0}
    assert report.by_pair["Ann", "Ben"].kappa == 1.0


FLOOR = replace(TWO, agreement_floor=0.4, minimum_pairs=80)


@pytest.mark.parametrize(
    ("rules", "experts", "passed"),
    [
        (FLOOR, 9, True),
        (replace(FLOOR, agreement_floor=0.5), 9, False),
        (replace(FLOOR, minimum_pairs=86), 9, False),
        (replace(FLOOR, reviewers=1), 9, False),
        (replace(FLOOR, agreement_floor=None), 9, True),
        (replace(FLOOR, agreement_floor=0.5), 0, True),
    ],
)
def test_gate_opens_only_on_enough_agreement(rules: object, experts: int, passed: bool) -> None:
    """Too few pairs, one reviewer or a low kappa close it; without a floor or experts it does not apply."""
    verdict = evaluate_agreement(of_table(MAMMOGRAMS), rules, experts)  # type: ignore[arg-type]
    assert verdict.is_passed is passed
    assert verdict.reason


def test_undefined_kappa_closes_the_gate() -> None:
    """40 approvals by two people each, without any rejection."""
    verdict = evaluate_agreement(compute_agreement([("approve", "approve")] * 40), replace(FLOOR, minimum_pairs=10), 40)
    assert (verdict.is_passed, "one category" in verdict.reason) == (False, True)
    assert not evaluate_agreement(compute_agreement([]), replace(ONE, agreement_floor=0.1), 1).is_passed

"""Impact figures are correct, and None if they can't be computed."""

import random
from dataclasses import replace

import pytest

from fine_tune_assets.corrections.edit_distance import edit_distance, edit_fraction
from fine_tune_assets.corrections.impact import TimeSaved, impact_by_release
from fine_tune_assets.ledger.reviews.correction_records import CorrectionMetadata


def _facts(release: str, kinds: dict[str | None, int], seconds: int | None = None) -> list[CorrectionMetadata]:
    listed = [kind for kind, count in kinds.items() for _ in range(count)]
    return [CorrectionMetadata(f"{release}-{n}", release, kind, None, seconds) for n, kind in enumerate(listed)]


def test_the_edit_distance_matches_the_textbook_algorithm() -> None:
    """Compares the bit-parallel version with the plain table on many short texts."""
    random.seed(1)
    for _ in range(500):
        a, b = ([random.choice("abcd") for _ in range(random.randrange(9))] for _ in range(2))
        table = [[i + j if i * j == 0 else 0 for j in range(len(b) + 1)] for i in range(len(a) + 1)]
        for i in range(1, len(a) + 1):
            for j in range(1, len(b) + 1):
                replaced = table[i - 1][j - 1] + (a[i - 1] != b[j - 1])
                table[i][j] = min(table[i - 1][j] + 1, table[i][j - 1] + 1, replaced)
        assert edit_distance(a, b) == table[-1][-1], (a, b)
    assert edit_fraction("Take 40 mg.", "Take 80 mg.") == pytest.approx(1 / 3, abs=1e-9)
    assert (edit_fraction("", ""), edit_fraction("", "Rest."), edit_fraction("Rest.", "Rest.")) == (0, 1, 0)


def test_a_release_without_figures_has_none_instead_of_zero() -> None:
    """0 minutes would claim that corrections cost nothing."""
    (row,) = impact_by_release(["r-1"], _facts("r-1", {None: 2}), {}, {}, {})
    assert (row.corrections, row.scrubbed) == (2, 0)
    assert (row.edit_quartiles, row.minutes_spent, row.median_seconds, row.answer_count, row.correction_rate) == (
        None,
    ) * 5
    assert row.kinds == ()


def test_counts_times_edits_thumbs_and_the_share_of_answers() -> None:
    facts = _facts("r-1", {"omission": 4}, seconds=30)
    edits = {"r-1-0": 0.0, "r-1-1": 0.2, "r-1-2": 0.4}
    (row,) = impact_by_release(["r-1"], facts, edits, {"r-1": {"up": 3, "down": 1}}, {"r-1": 40})
    assert (row.scrubbed, row.edit_quartiles) == (3, pytest.approx((0.1, 0.2, 0.3), abs=1e-9))
    assert (row.minutes_spent, row.median_seconds, row.timed_corrections) == (2.0, 30, 4)
    assert row.correction_rate is not None
    assert (row.correction_rate.value, row.thumbs_up, row.thumbs_down) == (0.1, 3, 1)
    assert 0.03 < row.correction_rate.low < 0.1 < row.correction_rate.high < 0.24


def test_time_saved_compares_with_the_cost_of_the_first_release() -> None:
    """20 corrections of 2 minutes per 100 answers cost 40 per hundred; 5 per 50 cost 20; so (40 - 20) x 50 / 100 are saved."""
    facts = _facts("r-1", {None: 20}, seconds=120) + _facts("r-2", {None: 5}, seconds=120)
    facts += _facts("r-4", {None: 30}, seconds=120)
    rows = impact_by_release(["r-1", "r-2", "r-3", "r-4"], facts, {}, {}, {"r-1": 100, "r-2": 50, "r-3": 10, "r-4": 60})
    assert [row.minutes_per_hundred for row in rows] == [40, 20, 0, 100]
    assert [row.time_saved for row in rows] == [
        None,
        TimeSaved(10, "r-1", 40),
        TimeSaved(4, "r-1", 40),
        TimeSaved(-36, "r-1", 40),
    ]


def test_too_few_stated_durations_give_no_time_saved() -> None:
    """4 of 20 are too few to extrapolate, 5 are enough; uncounted answers have an unknown cost."""
    for timed, per_hundred in ((4, None), (5, 10.0)):
        facts = _facts("r-2", {None: 20}, seconds=30)
        facts = facts[:timed] + [replace(fact, seconds_spent=None) for fact in facts[timed:]]
        rows = impact_by_release(["r-1", "r-2", "r-3"], facts, {}, {}, {"r-1": 10, "r-2": 100})
        assert [row.minutes_per_hundred for row in rows] == [0, per_hundred, None], timed
        assert [row.time_saved is None for row in rows] == [True, per_hundred is None, True]


def test_a_trend_requires_disjoint_intervals() -> None:
    """A page that calls every fluctuation a trend loses trust."""
    facts = _facts("r-1", {"omission": 40, "tone": 10}) + _facts("r-2", {"omission": 5, "tone": 12, "other": 33})
    facts += _facts("r-3", {"tone": 2})
    rows = impact_by_release(["r-1", "r-2", "r-3"], facts, {}, {}, {})
    assert {kind.trend for kind in rows[0].kinds} == {"no comparison"}
    assert {kind.kind: kind.trend for kind in rows[1].kinds} == {
        "omission": "falling", "tone": "unclear", "other": "rising",
    }  # fmt: skip
    assert {kind.trend for kind in rows[2].kinds} == {"no comparison"}

"""Position in the sitting, and the time left at the reviewer's own pace."""

from datetime import UTC, datetime, timedelta

from fine_tune_assets.desk.review_pace import MAX_DECISIONS, MINIMUM_INTERVALS, SITTING_BREAK, measure_progress

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def minutes_ago(*minutes: float) -> list[datetime]:
    return [NOW - timedelta(minutes=minute) for minute in minutes]


def test_the_total_stays_the_same_while_the_reviewer_decides() -> None:
    """Decided items leave the queue, so the position counts them."""
    shown = [
        (progress.position, progress.total)
        for decided in range(3)
        for progress in [measure_progress(minutes_ago(*range(decided)), 8 - decided, NOW)]
    ]
    assert shown == [(1, 8), (2, 8), (3, 8)]


def test_too_few_decisions_give_no_estimate() -> None:
    """An estimate from one or two decisions would be wrong most of the time."""
    few = minutes_ago(*range(MINIMUM_INTERVALS))
    assert measure_progress(few, 8, NOW).minutes_left is None
    assert measure_progress([*few, *minutes_ago(MINIMUM_INTERVALS)], 8, NOW).minutes_left == 8


def test_a_break_is_neither_part_of_the_pace_nor_of_the_sitting() -> None:
    """Otherwise a night between two sittings would count as one slow decision."""
    pause = SITTING_BREAK.total_seconds() / 60 + 1
    yesterday = [1 + pause + minute for minute in range(5)]
    progress = measure_progress(minutes_ago(0, 1, *yesterday), 10, NOW)
    assert (progress.position, progress.total, progress.minutes_left) == (3, 12, 10)
    assert measure_progress(minutes_ago(pause), 10, NOW).position == 1


def test_decisions_at_the_same_moment_are_not_a_pace() -> None:
    """Identical cases that are decided in one step would make the estimate zero."""
    progress = measure_progress([*minutes_ago(*range(6)), *minutes_ago(0) * 40], 4, NOW)
    assert progress.minutes_left == 4


def test_a_long_sitting_counts_every_decision_and_the_newest_give_the_pace() -> None:
    """The position must not stop at 51, and reviewers become faster."""
    newest = [0.5 * number for number in range(60)]
    earlier = [newest[-1] + 5 * number for number in range(1, 200)]
    progress = measure_progress(minutes_ago(*newest, *earlier), 10, NOW)
    assert (progress.position, progress.total, progress.minutes_left) == (260, 269, 5)
    assert len(newest) + len(earlier) < MAX_DECISIONS


def test_half_a_minute_is_shown_as_one() -> None:
    """ "0 min left" on an open item is wrong."""
    assert measure_progress(minutes_ago(*(0.1 * number for number in range(8))), 1, NOW).minutes_left == 1


def test_an_item_outside_of_the_filter_is_still_one_item() -> None:
    """A reviewer can open an item by its address when none is left."""
    assert measure_progress([], 0, NOW).total == 1

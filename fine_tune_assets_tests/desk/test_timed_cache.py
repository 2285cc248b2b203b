"""A value that is computed again only after some seconds."""

from itertools import count

from fine_tune_assets.desk.timed_cache import TimedCache


def test_a_value_is_kept_for_its_seconds_and_then_computed_again() -> None:
    now, numbers = [0.0], count()
    cache: TimedCache[int] = TimedCache(30.0, clock=lambda: now[0])
    found = []
    for at in (0.0, 29.9, 30.0, 31.0, 60.0):
        now[0] = at
        found.append(cache.get(lambda: next(numbers)))
    assert found == [0, 0, 1, 1, 2]

"""What each feature of a window is compared with."""

from datetime import UTC, datetime
from typing import Any

from fine_tune_assets.drift.exchange_features import FeatureSums
from fine_tune_assets.drift.windows import FOUND, NO_REFERENCE, NOTHING_BEFORE, Figure, Window, figures_of

NOW = datetime(2026, 5, 1, tzinfo=UTC)


def _window(corrections: dict[str, int] | None = None, **sums: Any) -> Window:
    return Window(NOW, NOW, FeatureSums(**{"requests": 100, **sums}), corrections or {})


def _figure(windows: list[Window], feature: str) -> Figure:
    """Of the last window."""
    return [f for f in figures_of(windows, None, 0.2, 0.001) if f.feature == feature][-1]


def test_without_a_training_set_nothing_is_judged_by_it_and_no_figure_is_made_up() -> None:
    """A missing figure is missing: it is neither 0 nor fine."""
    figures = {f.feature: f for f in figures_of([_window()], None, 0.2, 0.001)}
    for feature in ("prompt_words", "language"):
        assert (figures[feature].value, figures[feature].is_beyond) == (None, None)
        assert figures[feature].why_not_judged == NO_REFERENCE


def test_corrections_are_compared_with_the_windows_before_and_the_first_is_not_judged() -> None:
    """A training set has no corrections. Dropped requests were answered too."""
    first = _window({"wrong_fact": 2}, dropped=100)
    assert _figure([first], "correction_rate").why_not_judged == NOTHING_BEFORE
    assert _figure([first], "correction_rate").value == 0.01
    assert _figure([first, _window({"wrong_fact": 1})], "correction_rate").is_beyond is False
    assert _figure([first, _window({"wrong_fact": 9, "": 9})], "correction_rate").is_beyond is True
    kind = _figure([first, _window({"wrong_fact": 9, "": 9})], "correction_rate: wrong_fact")
    assert (kind.value, kind.reference, kind.is_beyond) == (0.09, 0.01, None)


def test_documents_that_are_found_less_often_are_an_alarm_and_more_often_is_none() -> None:
    """Where nobody looks for documents there is no rate, and that is not 0."""
    before = _window(looked_up=100, found=80)
    assert _figure([before, _window(looked_up=100, found=40)], FOUND).is_beyond is True
    assert _figure([before, _window(looked_up=100, found=99)], FOUND).is_beyond is False
    assert _figure([before, _window()], FOUND).value is None

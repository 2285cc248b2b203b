"""What each feature of a window is compared with."""

from fine_tune_assets.drift.drift_metrics import (
    NO_EARLIER_WINDOW,
    NO_REFERENCE,
    RETRIEVAL_HIT_RATE,
    DriftMetric,
    Window,
    measure_drift,
)
from fine_tune_assets_tests.drift.windows import window_of


def _figure(windows: list[Window], feature: str) -> DriftMetric:
    """The feature's metric in the last window."""
    return [f for f in measure_drift(windows, None, 0.2, 0.001) if f.feature == feature][-1]


def test_without_a_training_set_its_features_are_not_judged() -> None:
    """A missing value stays missing: it is neither 0 nor a pass."""
    figures = {f.feature: f for f in measure_drift([window_of()], None, 0.2, 0.001)}
    for feature in ("prompt_words", "language"):
        assert (figures[feature].value, figures[feature].exceeds_threshold) == (None, None)
        assert figures[feature].skip_reason == NO_REFERENCE


def test_corrections_are_compared_with_earlier_windows() -> None:
    """A training set has no corrections, so the first window is not judged. Unread requests were answered too."""
    first = window_of({"wrong_fact": 2}, unread=100)
    assert _figure([first], "correction_rate").skip_reason == NO_EARLIER_WINDOW
    assert _figure([first], "correction_rate").value == 0.01
    assert _figure([first, window_of({"wrong_fact": 1})], "correction_rate").exceeds_threshold is False
    assert _figure([first, window_of({"wrong_fact": 9, "": 9})], "correction_rate").exceeds_threshold is True
    kind = _figure([first, window_of({"wrong_fact": 9, "": 9})], "correction_rate: wrong_fact")
    assert (kind.value, kind.reference, kind.exceeds_threshold) == (0.09, 0.01, None)


def test_only_fewer_retrieval_hits_are_an_alarm() -> None:
    """Without retrieval the rate is missing, not 0."""
    before = window_of(lookups=100, lookup_hits=80)
    assert _figure([before, window_of(lookups=100, lookup_hits=40)], RETRIEVAL_HIT_RATE).exceeds_threshold is True
    assert _figure([before, window_of(lookups=100, lookup_hits=99)], RETRIEVAL_HIT_RATE).exceeds_threshold is False
    assert _figure([before, window_of()], RETRIEVAL_HIT_RATE).value is None

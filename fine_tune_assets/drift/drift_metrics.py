"""Measures whether a window's requests match the training data: a value, a threshold and a verdict per feature.

The reference is the training set or, for features that it lacks (corrections, retrieval hits), the release's earlier windows.
Thresholds bound the false-alarm rate: for distances (PSI) by resampling the training set at the window's size, for rates by
beta-binomial prediction from earlier requests.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fine_tune_assets.drift.drift_reference import Reference, max_expected_rate, min_expected_rate, psi
from fine_tune_assets.drift.exchange_features import BINNED_FEATURES, FeatureSums

REFUSAL_RATE, RETRIEVAL_HIT_RATE, CORRECTION_RATE = "refusal_rate", "retrieval_hit_rate", "correction_rate"
TESTED_FEATURES = (*BINNED_FEATURES, REFUSAL_RATE, RETRIEVAL_HIT_RATE, CORRECTION_RATE)
"""The false-alarm rate applies to a whole window, so each feature gets an equal share of it."""
NO_REFERENCE = "the training set has too few examples or was removed"
TOO_FEW_REQUESTS = "too few requests"
NO_EARLIER_WINDOW = "no earlier window"
NO_COUNTS = "nothing to count"
INFORMATIONAL = "part of correction_rate"


@dataclass(frozen=True)
class Window:
    start: datetime
    end: datetime
    sums: FeatureSums
    corrections: Mapping[str, int]
    """Error kind → corrections that arrived in the window; `""` if no kind was named."""

    @property
    def answer_count(self) -> int:
        return self.sums.requests + self.sums.unread


@dataclass(frozen=True)
class DriftMetric:
    window: Window
    feature: str
    measure: str
    """`psi` or `rate`."""
    value: float | None
    reference: float | None
    """Reference rate; None for a PSI."""
    reference_size: int | None
    """Number of reference examples or requests."""
    threshold: float | None
    skip_reason: str | None

    @property
    def exceeds_threshold(self) -> bool | None:
        """None if not judged."""
        if self.value is None or self.threshold is None:
            return None
        return self.value < self.threshold if self.feature == RETRIEVAL_HIT_RATE else self.value > self.threshold


def measure_drift(
    windows: Sequence[Window], reference: Reference | None, minimum_psi: float, level: float
) -> list[DriftMetric]:
    """Measure each window, oldest first. A PSI up to `minimum_psi` is never an alarm, even if statistically significant."""
    metrics, earlier = list[DriftMetric](), list[Window]()
    for window in windows:
        metrics += [_psi_metric(window, name, reference, minimum_psi) for name in BINNED_FEATURES]
        metrics += [_refusal_metric(window, reference, level), _retrieval_metric(window, earlier, level)]
        metrics += _correction_metrics(window, earlier, level)
        earlier.append(window)
    return metrics


def _psi_metric(window: Window, name: str, reference: Reference | None, least: float) -> DriftMetric:
    if reference is None:
        return DriftMetric(window, name, "psi", None, None, None, None, NO_REFERENCE)
    value = psi(window.sums.counts.get(name, {}), reference.sums.counts[name])
    limit = reference.limit(name, window.sums.requests)
    threshold = None if limit is None else max(least, limit)
    skip_reason = TOO_FEW_REQUESTS if limit is None else None
    return DriftMetric(window, name, "psi", value, None, reference.sums.requests, threshold, skip_reason)


def _refusal_metric(window: Window, reference: Reference | None, level: float) -> DriftMetric:
    count, of = window.sums.refused, window.sums.requests
    if reference is None:
        return DriftMetric(window, REFUSAL_RATE, "rate", _share(count, of), None, None, None, NO_REFERENCE)
    known = (reference.sums.refused, reference.sums.requests)
    return _rate_metric(window, REFUSAL_RATE, (count, of), known, max_expected_rate(*known, of, level) if of else None)


def _retrieval_metric(window: Window, before: Sequence[Window], level: float) -> DriftMetric:
    count, of = window.sums.lookup_hits, window.sums.lookups
    known = sum(w.sums.lookup_hits for w in before), sum(w.sums.lookups for w in before)
    return _rate_metric(
        window,
        RETRIEVAL_HIT_RATE,
        (count, of),
        known,
        min_expected_rate(*known, of, level) if of and known[1] else None,
    )


def _correction_metrics(window: Window, before: Sequence[Window], level: float) -> list[DriftMetric]:
    """Judge the total rate only; single error kinds are reported but too rare to judge."""
    of = window.answer_count
    known_of = sum(w.answer_count for w in before)
    counts = {CORRECTION_RATE: sum(window.corrections.values())}
    counts |= {f"{CORRECTION_RATE}: {kind}": n for kind, n in sorted(window.corrections.items()) if kind}
    metrics = []
    for name, count in counts.items():
        kind = name.partition(": ")[2]
        known = sum(w.corrections.get(kind, 0) if kind else sum(w.corrections.values()) for w in before), known_of
        if kind:
            reference = _share(*known)
            metrics.append(
                DriftMetric(window, name, "rate", _share(count, of), reference, known_of or None, None, INFORMATIONAL)
            )
        else:
            limit = max_expected_rate(min(known), known_of, of, level) if of and known_of else None
            metrics.append(_rate_metric(window, name, (count, of), known, limit))
    return metrics


def _rate_metric(
    window: Window, name: str, counted: tuple[int, int], known: tuple[int, int], threshold: float | None
) -> DriftMetric:
    skip_reason = None if threshold is not None else NO_EARLIER_WINDOW if counted[1] else NO_COUNTS
    return DriftMetric(window, name, "rate", _share(*counted), _share(*known), known[1] or None, threshold, skip_reason)


def _share(count: int, of: int) -> float | None:
    return count / of if of else None


def drifted_features(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the newest window's features that exceed their thresholds. `rows`: of `production_drift`."""
    newest = max((row["window_end"] for row in rows), default=None)
    return [row["feature"] for row in rows if row["window_end"] == newest and row["exceeds_threshold"]]

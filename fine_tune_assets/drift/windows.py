"""Whether the requests of a window are like what the model was trained on: a figure, a limit and a word for each.

Each feature is compared with the training set or, where that says nothing (corrections, documents found), with the earlier
windows of the same release. The limits are those that chance alone passes as seldom as asked for: of distances (PSI) by
resampling the training set in the window's size, of rates by what a beta-binomial foresees after the requests that are known.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fine_tune_assets.drift.exchange_features import COUNTED, FeatureSums
from fine_tune_assets.drift.references import Reference, highest_rate, lowest_rate, psi

REFUSALS, FOUND, CORRECTIONS = "refusal_rate", "retrieval_hit_rate", "correction_rate"
JUDGED = (*COUNTED, REFUSALS, FOUND, CORRECTIONS)
"""The rate of false alarms is of a whole window: each of these gets a seventh of it."""
NO_REFERENCE = "the training set has too few examples, or is not there any more"
TOO_FEW = "too few requests"
NOTHING_BEFORE = "no window before it"
NOT_COUNTED = "nothing to count"
ONLY_SHOWN = "part of correction_rate"


@dataclass(frozen=True)
class Window:
    start: datetime
    end: datetime
    sums: FeatureSums
    corrections: Mapping[str, int]
    """Kind of error → corrections that arrived in it; `""` where none was named."""

    @property
    def answered(self) -> int:
        return self.sums.requests + self.sums.dropped


@dataclass(frozen=True)
class Figure:
    window: Window
    feature: str
    measure: str
    """`psi` or `rate`."""
    value: float | None
    reference: float | None
    """A rate of what it is compared with; None for a PSI."""
    reference_size: int | None
    """Examples, or requests, that it is compared with."""
    threshold: float | None
    why_not_judged: str | None

    @property
    def is_beyond(self) -> bool | None:
        """None where it is not judged."""
        if self.value is None or self.threshold is None:
            return None
        return self.value < self.threshold if self.feature == FOUND else self.value > self.threshold


def figures_of(windows: Sequence[Window], reference: Reference | None, least_psi: float, level: float) -> list[Figure]:
    """Of each window, oldest first. `least_psi`: no PSI up to it is an alarm, however sure it is that it is no chance."""
    found, before = list[Figure](), list[Window]()
    for window in windows:
        found += [_distance(window, name, reference, least_psi) for name in COUNTED]
        found += [_refusals(window, reference, level), _documents_found(window, before, level)]
        found += _corrections(window, before, level)
        before.append(window)
    return found


def _distance(window: Window, name: str, reference: Reference | None, least: float) -> Figure:
    if reference is None:
        return Figure(window, name, "psi", None, None, None, None, NO_REFERENCE)
    value = psi(window.sums.counts.get(name, {}), reference.sums.counts[name])
    limit = reference.limit(name, window.sums.requests)
    threshold = None if limit is None else max(least, limit)
    why = TOO_FEW if limit is None else None
    return Figure(window, name, "psi", value, None, reference.sums.requests, threshold, why)


def _refusals(window: Window, reference: Reference | None, level: float) -> Figure:
    count, of = window.sums.refused, window.sums.requests
    if reference is None:
        return Figure(window, REFUSALS, "rate", _share(count, of), None, None, None, NO_REFERENCE)
    known = (reference.sums.refused, reference.sums.requests)
    return _rate(window, REFUSALS, (count, of), known, highest_rate(*known, of, level) if of else None)


def _documents_found(window: Window, before: Sequence[Window], level: float) -> Figure:
    count, of = window.sums.found, window.sums.looked_up
    known = sum(w.sums.found for w in before), sum(w.sums.looked_up for w in before)
    return _rate(window, FOUND, (count, of), known, lowest_rate(*known, of, level) if of and known[1] else None)


def _corrections(window: Window, before: Sequence[Window], level: float) -> list[Figure]:
    """The whole rate is judged; each kind of error is shown, since a kind is too seldom to judge."""
    of = window.answered
    known_of = sum(w.answered for w in before)
    counts = {CORRECTIONS: sum(window.corrections.values())}
    counts |= {f"{CORRECTIONS}: {kind}": n for kind, n in sorted(window.corrections.items()) if kind}
    found = []
    for name, count in counts.items():
        kind = name.partition(": ")[2]
        known = sum(w.corrections.get(kind, 0) if kind else sum(w.corrections.values()) for w in before), known_of
        if kind:
            reference = _share(*known)
            found.append(Figure(window, name, "rate", _share(count, of), reference, known_of or None, None, ONLY_SHOWN))
        else:
            limit = highest_rate(min(known), known_of, of, level) if of and known_of else None
            found.append(_rate(window, name, (count, of), known, limit))
    return found


def _rate(
    window: Window, name: str, counted: tuple[int, int], known: tuple[int, int], threshold: float | None
) -> Figure:
    why = None if threshold is not None else NOTHING_BEFORE if counted[1] else NOT_COUNTED
    return Figure(window, name, "rate", _share(*counted), _share(*known), known[1] or None, threshold, why)


def _share(count: int, of: int) -> float | None:
    return count / of if of else None


def beyond_in_newest(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Features of the newest window that are beyond their limits. `rows`: of `production_drift`."""
    newest = max((row["window_end"] for row in rows), default=None)
    return [row["feature"] for row in rows if row["window_end"] == newest and row["is_beyond"]]

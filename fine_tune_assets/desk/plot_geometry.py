"""Computes the coordinates of plots: histograms, and differences with their intervals.

`plots.html` renders them as SVG without script or style, because the desk's content security policy forbids both. A table on the
same page shows the same numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

from fine_tune_assets.judging.verdicts.evidence import HistogramBin as Bin
from fine_tune_assets.judging.verdicts.verdict_metrics import Metric

WIDTH = 640
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 12, 10, 26
_PLOT_HEIGHT = 170
_ROW_HEIGHT, _LABEL_WIDTH = 26, 220
MAX_LABEL_CHARACTERS = 30
"""Longer row labels are truncated; the table shows the full name."""


@dataclass(frozen=True)
class Tick:
    position: float
    label: str


@dataclass(frozen=True)
class Bar:
    x: float
    y: float
    width: float
    height: float
    series: int
    """0 for the first distribution, 1 for the second."""


@dataclass(frozen=True)
class Histogram:
    height: float
    baseline: float
    bars: tuple[Bar, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    zero: float | None
    """Position of 0, if 0 is inside the range."""


@dataclass(frozen=True)
class Difference:
    """A value with its interval, in data units."""

    label: str
    value: float
    low: float | None
    high: float | None
    margin: float | None = None
    outcome: str = ""


@dataclass(frozen=True)
class IntervalRow:
    label: str
    y: float
    x: float
    low: float | None
    high: float | None
    margin: float | None
    outcome: str


@dataclass(frozen=True)
class IntervalPlot:
    unit: str
    height: float
    baseline: float
    rows: tuple[IntervalRow, ...]
    ticks: tuple[Tick, ...]
    zero: float


@dataclass(frozen=True)
class _Scale:
    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self, about: int = 6) -> tuple[Tick, ...]:
        return tuple(Tick(self(value), label) for value, label in compute_ticks(self.low, self.high, about))


def make_histogram(*series: Sequence[Bin]) -> Histogram | None:
    """One or two distributions on one scale, side by side in each bin; None if all are empty."""
    drawn = [bins for bins in series if bins]
    highest = max((count for bins in drawn for _, _, count in bins), default=0)
    if not highest:
        return None
    low, high = min(start for bins in drawn for start, _, _ in bins), max(end for bins in drawn for _, end, _ in bins)
    across, base = _Scale(low, high, _LEFT, WIDTH - _RIGHT), _TOP + _PLOT_HEIGHT
    up = _Scale(0, highest, base, _TOP)
    bars = [
        _make_bar(across, up, found, place, len(series))
        for place, bins in enumerate(series)
        for found in bins
        if found[2]
    ]
    zero = across(0) if low < 0 < high else None
    return Histogram(base + _BOTTOM, base, tuple(bars), across.ticks(), up.ticks(min(6, highest)), zero)


def _make_bar(across: _Scale, up: _Scale, found: Bin, place: int, of: int) -> Bar:
    start, end, count = found
    left, right = across(start), across(end)
    gap = min(2.0, (right - left) * 0.1)
    width = (right - left - 2 * gap) / of
    top = up(count)
    return Bar(round(left + gap + place * width, 1), top, round(max(width, 0.5), 1), round(up(0) - top, 1), place)


def make_metric_intervals(metrics: Sequence[Metric]) -> list[IntervalPlot]:
    """One plot for each unit, because points and shares have no common scale. Skips metrics without a difference."""
    by_unit: dict[str, list[Difference]] = {}
    for one in metrics:
        if one.difference is not None:
            # A gain must exceed its margin; a loss must stay below it.
            margin = -one.margin if one.margin is not None and one.family != "target" else one.margin
            row = Difference(one.name, one.difference, one.low, one.high, margin, one.outcome)
            by_unit.setdefault(one.unit, []).append(row)
    return [make_intervals(unit, rows) for unit, rows in by_unit.items()]


def make_intervals(unit: str, rows: Sequence[Difference]) -> IntervalPlot:
    values = [0.0, *(v for row in rows for v in (row.value, row.low, row.high, row.margin) if v is not None)]
    low, high = min(values), max(values)
    room = (high - low if high - low > 1e-9 else 1.0) * 0.06
    across = _Scale(low - room, high + room, _LABEL_WIDTH, WIDTH - _RIGHT)
    base = _TOP + _ROW_HEIGHT * len(rows)
    placed = tuple(_make_interval_row(across, row, place) for place, row in enumerate(rows))
    return IntervalPlot(unit, base + _BOTTOM, base, placed, across.ticks(), across(0))


def _make_interval_row(across: _Scale, row: Difference, place: int) -> IntervalRow:
    return IntervalRow(
        label=row.label if len(row.label) <= MAX_LABEL_CHARACTERS else f"{row.label[: MAX_LABEL_CHARACTERS - 1]}…",
        y=_TOP + _ROW_HEIGHT * place + _ROW_HEIGHT / 2,
        x=across(row.value),
        low=None if row.low is None else across(row.low),
        high=None if row.high is None else across(row.high),
        margin=None if row.margin is None else across(row.margin),
        outcome=row.outcome,
    )


def place_correlation(value: float) -> float:
    """Position of a correlation from -1 to 1 in a plot without row labels."""
    return _Scale(-1, 1, _LEFT, WIDTH - _RIGHT)(value)


def compute_ticks(low: float, high: float, about: int = 6) -> list[tuple[float, str]]:
    """Round values in the range, with their labels.

    >>> [label for _, label in compute_ticks(1, 10)]
    ['2', '4', '6', '8', '10']
    >>> [label for _, label in compute_ticks(-0.11, 0.2)]
    ['-0.1', '0.0', '0.1', '0.2']
    """
    if not high > low:
        return [(low, f"{low:g}")]
    rough = (high - low) / about
    power = 10.0 ** floor(log10(rough))
    step = next(size * power for size in (1, 2, 5, 10) if size * power >= rough * 0.999)
    decimals = max(0, -floor(log10(step) + 1e-9))
    first, last = ceil(low / step - 1e-9), floor(high / step + 1e-9)
    return [(number * step, f"{number * step + 0.0:.{decimals}f}") for number in range(first, last + 1)]

"""Where the marks of a plot stand: bars of a distribution, and differences with their intervals. Pure: figures in, places out.

Made into inline SVG by a template, without script or style in it: the desk's content policy allows none. Each plot says in one
sentence what it shows; the same numbers stand in a table beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

from fine_tune_assets.desk.verdict_document import Bin, Figure

WIDTH = 640
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 12, 10, 26
_PLOT_HEIGHT = 170
_ROW, _LABELS = 26, 220
LONGEST_LABEL = 30
"""Characters of a name beside its interval; the table has all of it."""


@dataclass(frozen=True)
class Tick:
    at: float
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
    base: float
    bars: tuple[Bar, ...]
    ticks: tuple[Tick, ...]
    counts: tuple[Tick, ...]
    zero: float | None
    """Where nothing differs, if that is in the picture."""


@dataclass(frozen=True)
class IntervalRow:
    label: str
    y: float
    at: float
    low: float | None
    high: float | None
    margin: float | None
    outcome: str


@dataclass(frozen=True)
class Intervals:
    unit: str
    height: float
    base: float
    rows: tuple[IntervalRow, ...]
    ticks: tuple[Tick, ...]
    zero: float | None


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
        return tuple(Tick(self(value), label) for value, label in nice_ticks(self.low, self.high, about))


def histogram(*series: Sequence[Bin]) -> Histogram | None:
    """One or two distributions over the same scale, side by side in each bin; None where there is nothing to draw."""
    drawn = [bins for bins in series if bins]
    highest = max((found.count for bins in drawn for found in bins), default=0)
    if not highest:
        return None
    low, high = min(b.start for bins in drawn for b in bins), max(b.end for bins in drawn for b in bins)
    across, base = _Scale(low, high, _LEFT, WIDTH - _RIGHT), _TOP + _PLOT_HEIGHT
    up = _Scale(0, highest, base, _TOP)
    bars = [
        _bar(across, up, found, place, len(series))
        for place, bins in enumerate(series)
        for found in bins
        if found.count
    ]
    zero = across(0) if low < 0 < high else None
    return Histogram(base + _BOTTOM, base, tuple(bars), across.ticks(), up.ticks(min(6, highest)), zero)


def _bar(across: _Scale, up: _Scale, found: Bin, place: int, of: int) -> Bar:
    left, right = across(found.start), across(found.end)
    gap = min(2.0, (right - left) * 0.1)
    width = (right - left - 2 * gap) / of
    top = up(found.count)
    return Bar(round(left + gap + place * width, 1), top, round(max(width, 0.5), 1), round(up(0) - top, 1), place)


def intervals(figures: Sequence[Figure]) -> list[Intervals]:
    """The differences that there are, one picture a unit: points and shares have no scale in common."""
    drawn = [figure for figure in figures if figure.difference is not None]
    units = dict.fromkeys(figure.unit for figure in drawn)
    return [_intervals(unit, [figure for figure in drawn if figure.unit == unit]) for unit in units]


def _intervals(unit: str, figures: Sequence[Figure]) -> Intervals:
    values = [0.0]
    for figure in figures:
        values += [v for v in (figure.difference, figure.low, figure.high, margin_of(figure)) if v is not None]
    low, high = min(values), max(values)
    room = (high - low if high - low > 1e-9 else 1.0) * 0.06
    across = _Scale(low - room, high + room, _LABELS, WIDTH - _RIGHT)
    rows = tuple(_interval_row(across, figure, place) for place, figure in enumerate(figures))
    base = _TOP + _ROW * len(figures)
    return Intervals(unit, base + _BOTTOM, base, rows, across.ticks(), across(0))


def _interval_row(across: _Scale, figure: Figure, place: int) -> IntervalRow:
    assert figure.difference is not None
    margin = margin_of(figure)
    return IntervalRow(
        label=figure.name if len(figure.name) <= LONGEST_LABEL else f"{figure.name[: LONGEST_LABEL - 1]}…",
        y=_TOP + _ROW * place + _ROW / 2,
        at=across(figure.difference),
        low=None if figure.low is None else across(figure.low),
        high=None if figure.high is None else across(figure.high),
        margin=None if margin is None else across(margin),
        outcome=figure.outcome,
    )


def margin_of(figure: Figure) -> float | None:
    """The difference that has to be exceeded: a gain on the task itself, elsewhere a loss that is allowed, however its sign."""
    if figure.margin is None:
        return None
    return figure.margin if figure.family == "target" else -abs(figure.margin)


def on_scale(value: float, low: float, high: float) -> float:
    """Where a value of one scale stands in a plot without labels at its left."""
    return _Scale(low, high, _LEFT, WIDTH - _RIGHT)(min(max(value, low), high))


def nice_ticks(low: float, high: float, about: int = 6) -> list[tuple[float, str]]:
    """Round values between two ends, with their labels.

    >>> [label for _, label in nice_ticks(1, 10)]
    ['2', '4', '6', '8', '10']
    >>> [label for _, label in nice_ticks(-0.11, 0.2)]
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

"""Plots of a verdict for the Dagster UI, as PNG below 50 KB, drawn from its evidence document. Missing metrics are not drawn."""

from collections.abc import Mapping, Sequence
from typing import Any

from fine_tune_assets.core.plots import make_figure, to_png
from fine_tune_assets.judging.verdicts.evidence import Evidence, HistogramBin
from fine_tune_assets.judging.verdicts.verdict_metrics import Family

_COLOURS = {"passes": "#1f7a4d", "fails": "#b3261e", "unknown": "#8a6d00"}
_CANDIDATE, _INCUMBENT = "#1f5fa8", "#9a9a9a"
_MAX_ROWS = 40
"""Rows in one plot."""


def verdict_plots(evidence: Evidence) -> dict[str, bytes]:
    """Title → PNG, for the plots that the evidence has data for."""
    plots = {
        "Grades on the same test examples": _distributions(evidence),
        "Candidate minus incumbent, by example": _differences(evidence),
        "Differences in points with 95 % intervals": _intervals(evidence, ("target", "tasks", "subgroups")),
        "Retained abilities: change in accuracy": _intervals(evidence, ("abilities",)),
        "Checks, robustness and documents: change in the share passed": _intervals(
            evidence, ("checks", "robustness", "documents")
        ),
        "Agreement of the judge with experts": _agreement(evidence),
    }
    return {title: png for title, png in plots.items() if png is not None}


def grade_plot(grades: Mapping[str, Sequence[float]]) -> bytes | None:
    """Histogram of each model's grades from 1 to 10, side by side; None without grades."""
    if not any(grades.values()):
        return None
    figure, axes = make_figure(7, 2.8)
    axes.hist(
        list(grades.values()), bins=range(1, 11), label=[f"{name} ({len(found)})" for name, found in grades.items()]
    )
    axes.set_xlabel("grade, 1 to 10")
    axes.set_ylabel("test examples")
    axes.legend()
    return to_png(figure)


def _distributions(evidence: Evidence) -> bytes | None:
    grades = evidence.distributions
    if not _has_counts(grades.candidate):
        return None
    figure, axes = make_figure(7, 2.8)
    _draw_bars(axes, grades.incumbent, _INCUMBENT, "incumbent")
    _draw_bars(axes, grades.candidate, _CANDIDATE, "candidate")
    axes.set_xlabel("grade, 1 to 10")
    axes.set_ylabel("test examples")
    axes.legend()
    return to_png(figure)


def _differences(evidence: Evidence) -> bytes | None:
    bars = evidence.distributions.differences
    if not _has_counts(bars):
        return None
    figure, axes = make_figure(7, 2.4)
    _draw_bars(axes, bars, _CANDIDATE, "examples")
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_xlabel("candidate minus incumbent, points")
    axes.set_ylabel("test examples")
    return to_png(figure)


def _intervals(evidence: Evidence, families: Sequence[Family]) -> bytes | None:
    wanted = [f for f in evidence.metrics if f.family in families and f.difference is not None]
    rows = list(reversed(wanted[:_MAX_ROWS]))
    if not rows:
        return None
    figure, axes = make_figure(7, 0.8 + 0.28 * len(rows))
    for place, row in enumerate(rows):
        colour = _COLOURS[row.outcome]
        if row.low is not None and row.high is not None:
            axes.plot([row.low, row.high], [place, place], color=colour, linewidth=2)
        axes.plot(row.difference, place, marker="o", color=colour)
        if row.margin is not None:
            bound = row.margin if row.family == "target" else -row.margin
            axes.plot([bound, bound], [place - 0.3, place + 0.3], color="black", linewidth=1)
    axes.axvline(0, color="black", linewidth=0.5, linestyle=":")
    axes.set_yticks(range(len(rows)), [f"{row.name} ({row.items})" for row in rows])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlabel("difference; short line: limit. Green: passes. Red: fails. Yellow: unknown.")
    return to_png(figure)


def _agreement(evidence: Evidence) -> bytes | None:
    judge = evidence.judge
    if judge.agreement is None:
        return None
    figure, axes = make_figure(7, 1.2)
    axes.barh(["Spearman"], [judge.agreement], color=_COLOURS["passes" if judge.is_qualified else "fails"])
    axes.axvline(judge.floor, color="black")
    axes.set_xlim(min(0.0, judge.agreement), 1)
    axes.set_xlabel("rank correlation with experts; line: floor")
    return to_png(figure)


def _has_counts(bars: Sequence[HistogramBin]) -> bool:
    return any(count for _, _, count in bars)


def _draw_bars(axes: Any, bars: Sequence[HistogramBin], colour: str, label: str) -> None:
    filled = [bar for bar in bars if bar[2]]
    axes.bar(
        [start for start, _, _ in filled],
        [count for _, _, count in filled],
        width=[end - start for start, end, _ in filled],
        align="edge",
        color=colour,
        alpha=0.6,
        label=label,
    )

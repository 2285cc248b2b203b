"""Simulate how often the gate is wrong: the verdict's intervals and tests, compared with common bootstraps.

Candidates are made up, with a known true effect: one to four test examples a patient, 40 % of the variance shared by a patient's
examples, differences spread as in the demo (2.2 points). Symmetric (normal), skewed (many small gains, few large losses) and
quarters of points with many ties. Each method sees the same candidates. `coverage`: share of 95 % intervals that hold the true
effect. `false promotions`: share of candidates with no true effect whose gain would be shown.

`years`: a verdict a week on one test split. Each model has its own noise on each example; a promoted candidate becomes the
incumbent and keeps its noise. For a year no candidate is better; after it, every candidate gains half a point. `before`: the 95 %
interval decides, on the same examples all year. `after`: the error of a year is divided over its verdicts, and half of the
examples are replaced with each incumbent.

`checks`: candidates that lose a share of the answers to which a check applies; no other answer changes.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.stats import norm

from fine_tune_assets.judging.statistics.binary_pairs import BinaryPairs, p_value_of_loss, score_interval
from fine_tune_assets.judging.statistics.paired_differences import interval_ends, resample_means
from fine_tune_assets.recipes.error_levels import ALPHA, gain_level, tail_level

CANDIDATES, DRAWN, SEED = 2000, 1000, 11
PATIENTS = (8, 12, 20, 40, 100, 200)
SPREAD, SHARED = 2.2, 0.4
Ends = tuple[np.ndarray, np.ndarray]


def made_up(patients: int, shape: str, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Sums of differences (a patient a row, a candidate a column) and examples a patient; the true effect is 0."""
    counts = random.integers(1, 5, size=patients)
    patient = np.repeat(np.arange(patients), counts)

    def noise(rows: int) -> np.ndarray:
        size = (rows, CANDIDATES)
        return 1 - random.exponential(size=size) if shape == "skewed" else random.normal(size=size)

    values = SPREAD * (np.sqrt(SHARED) * noise(patients)[patient] + np.sqrt(1 - SHARED) * noise(len(patient)))
    if shape == "ties":
        values = np.round(values * 0.8) / 0.8
    sums = np.zeros((patients, CANDIDATES))
    np.add.at(sums, patient, values)
    return sums, counts.astype(float)


def typical_values(sums: np.ndarray, counts: np.ndarray, _: np.random.Generator) -> Ends:
    """The verdict's intervals; -∞ and ∞ if there is none."""
    ends = interval_ends(np.sort(resample_means(sums, counts), axis=0), len(counts))
    return ends or (np.full(sums.shape[1], -np.inf), np.full(sums.shape[1], np.inf))


def _resampled(sums: np.ndarray, counts: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    weights = random.multinomial(len(counts), np.full(len(counts), 1 / len(counts)), size=DRAWN).astype(float)
    return weights, (weights @ sums) / (weights @ counts)[:, None]


def percentile(sums: np.ndarray, counts: np.ndarray, random: np.random.Generator) -> Ends:
    _, means = _resampled(sums, counts, random)
    low, high = np.quantile(means, [ALPHA, 1 - ALPHA], axis=0)
    return low, high


def bias_corrected(sums: np.ndarray, counts: np.ndarray, random: np.random.Generator) -> Ends:
    """BCa (Efron 1987)."""
    _, means = _resampled(sums, counts, random)
    value = sums.sum(axis=0) / counts.sum()
    bias = norm.ppf(np.clip((means < value).mean(axis=0), 1 / DRAWN, 1 - 1 / DRAWN))
    left_out = (sums.sum(axis=0) - sums) / (counts.sum() - counts)[:, None]
    away = left_out.mean(axis=0) - left_out
    acceleration = (away**3).sum(axis=0) / (6 * (away**2).sum(axis=0) ** 1.5 + 1e-12)
    means.sort(axis=0)
    ends = []
    for z in (norm.ppf(ALPHA), -norm.ppf(ALPHA)):
        level = norm.cdf(bias + (bias + z) / (1 - acceleration * (bias + z)))
        place = np.clip((level * DRAWN).astype(int), 0, DRAWN - 1)
        ends.append(means[place, np.arange(means.shape[1])])
    return ends[0], ends[1]


def studentised(sums: np.ndarray, counts: np.ndarray, random: np.random.Generator) -> Ends:
    """Bootstrap-t."""
    weights, means = _resampled(sums, counts, random)
    value = sums.sum(axis=0) / counts.sum()
    patients = len(counts)

    def error(weights: np.ndarray, mean: np.ndarray) -> np.ndarray:
        squares = (
            weights @ sums**2
            - 2 * mean * (weights @ (sums * counts[:, None]))
            + mean**2 * (weights @ counts**2)[:, None]
        )
        return np.sqrt(patients / (patients - 1) * np.maximum(squares, 0)) / (weights @ counts)[:, None]

    own = error(np.ones((1, patients)), value[None, :])[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = np.nan_to_num((means - value) / error(weights, means), nan=0.0)
    low, high = np.quantile(scaled, [ALPHA, 1 - ALPHA], axis=0)
    return value - high * own, value - low * own


METHODS: dict[str, Callable[[np.ndarray, np.ndarray, np.random.Generator], Ends]] = {
    "typical values (used)": typical_values,
    "percentile bootstrap": percentile,
    "BCa bootstrap": bias_corrected,
    "studentised bootstrap": studentised,
}


def compared() -> list[dict[str, float | str | int]]:
    rows: list[dict[str, float | str | int]] = []
    for shape in ("symmetric", "skewed", "ties"):
        for patients in PATIENTS:
            sums, counts = made_up(patients, shape, np.random.default_rng([SEED, patients]))
            for name, method in METHODS.items():
                ends = [method(part, counts, np.random.default_rng(SEED)) for part in np.array_split(sums, 4, axis=1)]
                low, high = (np.concatenate([pair[side] for pair in ends]) for side in (0, 1))
                rows.append(
                    {
                        "differences": shape,
                        "patients": patients,
                        "method": name,
                        "coverage": float(np.mean((low <= 0) & (high >= 0))),
                        "false promotions": float(np.mean(low > 0)),
                        "width": float(np.median(high - low)),
                    }
                )
    return rows


def of_shares() -> list[dict[str, float | int]]:
    """Paired yes-or-no items at the edge of a budget of 10 points: how often a loss passes, and how often it fails."""
    rows: list[dict[str, float | int]] = []
    for items in (25, 50, 100, 200, 400):
        for differing in (0.12, 0.3):
            worse = (differing + 0.1) / 2
            random = np.random.default_rng([SEED, items])
            drawn = random.multinomial(items, [worse, differing - worse, 1 - differing], size=CANDIDATES)
            tables, times = np.unique(drawn[:, :2], axis=0, return_counts=True)
            pairs = [BinaryPairs(items, int(b), int(c)) for b, c in tables]
            passes = np.array([score_interval(pair)[0] > -0.1 for pair in pairs])
            fails = np.array([p_value_of_loss(pair, 0.1) <= ALPHA for pair in pairs])
            rows.append(
                {
                    "items": items,
                    "differing": differing,
                    "wrongly passes": float(times[passes].sum() / CANDIDATES),
                    "wrongly fails": float(times[fails].sum() / CANDIDATES),
                }
            )
    return rows


YEARS, WEEKS, WEEKS_AFTER, GAIN, YEAR_DRAWS = 400, 52, 26, 0.5, 20_000


@dataclass(frozen=True)
class Design:
    name: str
    level: float
    split: int
    """Examples in the test split, one a patient."""
    rotates: bool


def _noise(split: int, shape: str, random: np.random.Generator) -> np.ndarray:
    """Of one model on each example (a year a column). Symmetric: the difference of two models has the spread of the demo. Skewed:
    a candidate alone has it, so that its difference to a constant incumbent is skewed; that of two skewed models is not."""
    size = (split, YEARS)
    return SPREAD * (1 - random.exponential(size=size) if shape == "skewed" else random.normal(size=size) / np.sqrt(2))


def _first_asked(split: int, asked: int, random: np.random.Generator) -> np.ndarray:
    return random.random((split, YEARS)).argsort(axis=0).argsort(axis=0) < asked


def _rotated(asked: np.ndarray, uses: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Half of the asked examples of each year, with the least used of the others (`example_selection.py`)."""
    count = asked[:, 0].sum()
    order = uses + random.random(asked.shape)
    fresh = np.where(asked, np.inf, order).argsort(axis=0).argsort(axis=0)
    number = np.minimum(count // 2, (~asked).sum(axis=0))
    kept = np.where(asked, order, np.inf).argsort(axis=0).argsort(axis=0)
    return (fresh < number) & ~asked | (kept < count - number) & asked


def _promoted(differences: np.ndarray, asked: np.ndarray, level: float, seed: int) -> np.ndarray:
    """Whether each year's candidate is promoted this week. `level`: share of draws without a gain."""
    random, at_most_zero = np.random.default_rng(seed), np.zeros(differences.shape[1])
    places = np.argsort(~asked, axis=0, kind="stable")[: asked[:, 0].sum()]
    values = np.take_along_axis(differences, places, axis=0).astype(np.float32)
    for _ in range(YEAR_DRAWS // 1000):
        drawn = random.integers(0, 2, size=(1000, len(values)), dtype=np.uint8).astype(np.float32)
        at_most_zero += (drawn @ values <= 0).sum(axis=0)
    return np.asarray((1 + at_most_zero) / (YEAR_DRAWS + 1) <= level)


def year_of(design: Design, asked_count: int, shape: str) -> dict[str, float | str | int]:
    random = np.random.default_rng([SEED, asked_count, design.split])
    incumbent, quality = _noise(design.split, shape, random) * (shape != "skewed"), np.zeros(YEARS)
    asked = _first_asked(design.split, asked_count, random)
    uses = np.zeros(asked.shape)
    falsely, found = np.zeros(YEARS, bool), np.full(YEARS, WEEKS + WEEKS_AFTER)
    overstated = np.zeros(YEARS)
    for week in range(WEEKS + WEEKS_AFTER):
        gain = GAIN if week >= WEEKS else 0.0
        if week == WEEKS:
            overstated = (incumbent * asked).sum(axis=0) / asked_count
        candidate = _noise(design.split, shape, random)
        is_promoted = _promoted(candidate + gain - incumbent - quality, asked, design.level, week)
        uses += asked
        falsely |= is_promoted & (week < WEEKS)
        found = np.where(is_promoted & (quality < gain), np.minimum(found, week), found)
        incumbent, quality = np.where(is_promoted, candidate, incumbent), np.where(is_promoted, gain, quality)
        if design.rotates:
            asked = np.where(is_promoted, _rotated(asked, uses, random), asked)
    waited = found - WEEKS
    return {
        "design": design.name,
        "asked": asked_count,
        "differences": shape,
        "years with a false promotion": float(falsely.mean()),
        "incumbent overstated": float(overstated[falsely].mean()) if falsely.any() else 0.0,
        "gain found in 1 week": float(np.mean(waited < 1)),
        "in 4 weeks": float(np.mean(waited < 4)),
        "missed for 26 weeks": float(np.mean(waited >= WEEKS_AFTER)),
    }


def years() -> list[dict[str, float | str | int]]:
    rows = []
    for asked in (60, 200):
        old, level = tail_level(asked), gain_level(0.05 / WEEKS, asked)
        designs = (
            Design("before", old, asked, rotates=False),
            Design("yearly error only", level, asked, rotates=False),
            Design("half rotates only", old, 2 * asked, rotates=True),
            Design("after", level, 2 * asked, rotates=True),
            Design("after, 20 % a year", gain_level(0.2 / WEEKS, asked), 2 * asked, rotates=True),
        )
        rows += [year_of(design, asked, shape) for shape in ("symmetric", "skewed") for design in designs]
    return rows


def of_checks() -> list[dict[str, float | int]]:
    """Share of candidates with a true loss on a check that pass it: by its interval, and with the rule for few answers."""
    random, rows = np.random.default_rng(SEED), []
    for answers in (10, 20, 40, 80, 124):
        for loss in (0.03, 0.1, 0.3):
            worse = random.binomial(answers, loss, size=CANDIDATES)
            by_interval = [score_interval(BinaryPairs(answers, int(count), 0))[0] > -0.03 for count in worse]
            rows.append(
                {
                    "answers": answers,
                    "true loss": loss,
                    "passes before": float(np.mean(by_interval)),
                    "passes after": float(np.mean(worse == 0)),
                }
            )
    return rows


def main() -> None:
    console, found = (
        Console(width=150),
        {"grades": compared(), "shares": of_shares(), "years": years(), "checks": of_checks()},
    )
    for title, rows in found.items():
        table = Table(title=title)
        for name in rows[0]:
            table.add_column(name)
        for row in rows:
            table.add_row(*[f"{value:.3f}" if isinstance(value, float) else str(value) for value in row.values()])
        console.print(table)
    print(json.dumps(found))


if __name__ == "__main__":
    main()

"""Simulate how often the gate is wrong: the verdict's intervals and tests, compared with common bootstraps.

Candidates are made up, with a known true effect: one to four test examples a patient, 40 % of the variance shared by a patient's
examples, differences spread as in the demo (2.2 points). Symmetric (normal), skewed (many small gains, few large losses) and
quarters of points with many ties. Each method sees the same candidates. `coverage`: share of 95 % intervals that hold the true
effect. `false promotions`: share of candidates with no true effect whose gain would be shown.
"""

import json
from collections.abc import Callable

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.stats import norm

from fine_tune_assets.judging.statistics.binary_pairs import BinaryPairs, p_value_of_loss, score_interval
from fine_tune_assets.judging.statistics.paired_differences import ALPHA, interval_ends, resample_means

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


def main() -> None:
    console, found = Console(width=130), {"grades": compared(), "shares": of_shares()}
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

"""Decides which report of a cluster is kept: the longer, then the newer, then the one with the lower id.

A report is only dropped for one that is kept, so every dropped report leads to its replacement.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fine_tune_assets.dedup.word_hashes import Ints

Kind = Literal["exact", "near", "semantic"]
WRITTEN_ON = "written_on"


@dataclass(frozen=True)
class Match:
    """Two duplicate rows; `better` is lower, since rows are sorted by rank."""

    better: int
    worse: int
    kind: Kind
    similarity: float


def rank_reports(facts: pa.Table) -> Ints:
    """Return places by priority for being kept. Reports without a date count as the oldest."""
    keys = [("length", "descending"), ("written", "descending"), ("report_id", "ascending")]
    written = pc.fill_null(facts[WRITTEN_ON].cast(pa.int32()), np.iinfo(np.int32).min)
    return np.asarray(pc.sort_indices(facts.append_column("written", written), keys), dtype=np.int64)


def match_dropped(matches: Iterable[Match]) -> dict[int, Match]:
    """Map each dropped row to its match: the best-ranked kept row, then the most certain kind.

    If a first copy is dropped, its other copies are dropped for the same report.
    """
    of_worse: dict[int, list[Match]] = {}
    for match in matches:
        of_worse.setdefault(match.worse, []).append(match)
    dropped: dict[int, Match] = {}
    for row in sorted(of_worse):
        staying = [m for m in of_worse[row] if m.better not in dropped]
        if staying:
            dropped[row] = min(staying, key=_match_priority)
    return dropped


def retention_reason(kept: Mapping[str, object], dropped: Mapping[str, object]) -> str:
    """Explain to an auditor why one report was kept. Uses `length` and `written_on` of both."""
    if kept["length"] != dropped["length"]:
        return "The longer text is kept."
    if kept[WRITTEN_ON] != dropped[WRITTEN_ON]:
        return "Of two texts of equal length, the newer one is kept."
    return "Of two texts of equal length and date, the one with the lower id is kept."


def find_exact_leaders(exact: np.ndarray) -> Ints:
    """Return, for every row, the best-ranked row with the same words, which may be itself. `exact` is (rows, 2)."""
    order = np.lexsort((exact[:, 1], exact[:, 0]))  # stable: keeps equal rows sorted by rank
    ordered = exact[order]
    is_first = np.ones(len(order), np.bool_)
    is_first[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    firsts = np.flatnonzero(is_first)
    leaders = np.empty(len(order), np.int64)
    leaders[order] = np.repeat(order[firsts], np.diff(np.append(firsts, len(order))))
    return leaders


def _match_priority(match: Match) -> tuple[int, float, int]:
    return ("exact", "near", "semantic").index(match.kind), -match.similarity, match.better

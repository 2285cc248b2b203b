"""Of reports that say the same, which one stays.

Owns the rule: the longer one, then the newer, then the one with the lower id. A report is dropped for a better one that
stays itself, so that whoever looks for a dropped report finds what stands in its place.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fine_tune_assets.dedup.words import Ints

Kind = Literal["exact", "near", "semantic"]
WRITTEN_ON = "written_on"


@dataclass(frozen=True)
class Match:
    """Two rows that say the same; `better` is lower, since rows are in order of rank."""

    better: int
    worse: int
    kind: Kind
    similarity: float


def best_first(facts: pa.Table) -> Ints:
    """Places in order of their right to stay. A report that does not say when it was written counts as the oldest."""
    keys = [("length", "descending"), ("written", "descending"), ("report_id", "ascending")]
    written = pc.fill_null(facts[WRITTEN_ON].cast(pa.int32()), np.iinfo(np.int32).min)
    return np.asarray(pc.sort_indices(facts.append_column("written", written), keys), dtype=np.int64)


def dropped_for(matches: Iterable[Match]) -> dict[int, Match]:
    """Row → the match for which it is dropped: with the best rank among those that stay, of the surest kind.

    A copy is dropped for what its first copy is dropped for, if that one goes.
    """
    of_worse: dict[int, list[Match]] = {}
    for match in matches:
        of_worse.setdefault(match.worse, []).append(match)
    dropped: dict[int, Match] = {}
    for row in sorted(of_worse):
        staying = [m for m in of_worse[row] if m.better not in dropped]
        if staying:
            dropped[row] = min(staying, key=_surest)
    return dropped


def reason(kept: Mapping[str, object], dropped: Mapping[str, object]) -> str:
    """Why the one stayed, for a person who audits the pair. Takes `length` and `written_on` of both."""
    if kept["length"] != dropped["length"]:
        return "The longer text stays."
    if kept[WRITTEN_ON] != dropped[WRITTEN_ON]:
        return "Of two as long, the newer one stays."
    return "Of two as long and as new, the one with the lower id stays."


def exact_leaders(exact: np.ndarray) -> Ints:
    """For every row the best one with the same words: itself, if there is no better one. `exact` is (rows, 2)."""
    order = np.lexsort((exact[:, 1], exact[:, 0]))  # stable: equal rows stay in order of rank
    ordered = exact[order]
    is_first = np.ones(len(order), np.bool_)
    is_first[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    firsts = np.flatnonzero(is_first)
    leaders = np.empty(len(order), np.int64)
    leaders[order] = np.repeat(order[firsts], np.diff(np.append(firsts, len(order))))
    return leaders


def _surest(match: Match) -> tuple[int, float, int]:
    return ("exact", "near", "semantic").index(match.kind), -match.similarity, match.better

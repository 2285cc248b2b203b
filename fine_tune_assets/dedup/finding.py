"""Finds reports that say the same, and chooses the one that stays.

Owns the rule: reports whose words are equal but for case and whitespace are exact duplicates; reports whose word
shingles have a Jaccard similarity of at least the recipe's threshold are near duplicates. MinHash only proposes pairs;
each is verified by its true similarity, so an estimate never drops a report. Does not know what a report means, and
does not ask whose it is: the same text under two patients is one report.
"""

from dataclasses import dataclass
from functools import lru_cache

import pyarrow as pa
import pyarrow.compute as pc
from rensa import RMinHash, RMinHashLSH

from fine_tune_assets.core.fingerprints import fingerprint_text
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.core.tables import DUPLICATE_REPORTS, SCRUBBED_REPORTS, UNIQUE_REPORTS, check_table, table_of
from fine_tune_assets.recipes.schema import DedupSettings

SEED = 20260101
"""Seed of the permutations. Which pairs are proposed depends on it; which are accepted does not."""
MISSED_FRACTION = 0.001
"""Chance, at most, that a pair exactly at the threshold is never proposed."""
CACHED_SHINGLES = 4096
REPORT_EVERY = 100

Shingles = frozenset[str]


@dataclass(frozen=True)
class Duplicates:
    """Every report is in one of the two tables, and `kept_id` always names a report in `unique`."""

    unique: pa.Table
    duplicates: pa.Table


def find_duplicates(reports: pa.Table, settings: DedupSettings, progress: Progress) -> Duplicates:
    """Split a SCRUBBED_REPORTS table into unique and duplicate reports, the same for any order of its rows."""
    check_table(reports, SCRUBBED_REPORTS)
    ranked = _best_first(reports)
    ids = ranked.column("report_id").to_pylist()
    # Without surrogates, which differ from patient to patient where one note was copied to several.
    compared = ranked.column("tagged_text")
    leaders, copies = _exact_groups(compared)
    near = _near_leaders(compared, leaders, settings, progress)
    dropped = [_dropped(ids[i], ids[kept], "near", similarity) for i, (kept, similarity) in near.items()]
    for copy, leader in copies.items():
        # The leader of a group may itself be near to a better report: then that one stands for the copies as well.
        kept, similarity = near.get(leader, (leader, 1.0))
        dropped.append(_dropped(ids[copy], ids[kept], "exact" if kept == leader else "near", similarity))
    kept_rows = [i for i in leaders if i not in near]
    unique = ranked.take(pa.array(kept_rows, pa.int64())).select(UNIQUE_REPORTS.names).sort_by("report_id")
    return Duplicates(
        unique=unique.cast(UNIQUE_REPORTS),
        duplicates=table_of(sorted(dropped, key=lambda row: row["dropped_id"]), DUPLICATE_REPORTS),
    )


def jaccard(first: Shingles, second: Shingles) -> float:
    """Shared shingles divided by all shingles, 0 to 1. Two texts without a word are not alike."""
    union = len(first | second)
    return len(first & second) / union if union else 0.0


def shingles_of(text: str, size: int) -> Shingles:
    """Every run of `size` words, without case; a text with fewer words is one shingle."""
    words = text.casefold().split()
    if not words:
        return frozenset()
    return frozenset(" ".join(words[i : i + size]) for i in range(max(1, len(words) - size + 1)))


def bands_for(threshold: float, permutations: int) -> int:
    """The fewest LSH bands that propose a pair at `threshold` with a chance of 1 - MISSED_FRACTION.

    b bands of r rows propose a pair of similarity s with probability 1 - (1 - s^r)^b (Leskovec, Rajaraman and Ullman,
    Mining of Massive Datasets, 3.4.2). Fewer bands propose fewer pairs that then have to be verified.
    """
    for bands in range(1, permutations + 1):
        if permutations % bands == 0 and (1 - threshold ** (permutations // bands)) ** bands <= MISSED_FRACTION:
            return bands
    return permutations


def _best_first(reports: pa.Table) -> pa.Table:
    """The longer text first, then the lower id: a row's place is its right to stay."""
    length = pc.utf8_length(reports.column("text"))
    return reports.append_column("length", length).sort_by([("length", "descending"), ("report_id", "ascending")])


def _exact_groups(texts: pa.ChunkedArray) -> tuple[list[int], dict[int, int]]:
    """Rows that are the first with their words, and for each other row the one that it repeats."""
    first_with: dict[str, int] = {}
    copies: dict[int, int] = {}
    for row, text in enumerate(texts):
        leader = first_with.setdefault(fingerprint_text(" ".join(text.as_py().casefold().split())), row)
        if leader != row:
            copies[row] = leader
    return list(first_with.values()), copies


def _near_leaders(
    texts: pa.ChunkedArray, rows: list[int], settings: DedupSettings, progress: Progress
) -> dict[int, tuple[int, float]]:
    """For each row that is near to a better one that stays: that one, and the similarity."""

    @lru_cache(CACHED_SHINGLES)
    def shingles(row: int) -> Shingles:
        return shingles_of(texts[row].as_py(), settings.shingle_words)

    bands = bands_for(settings.near_threshold, settings.permutations)
    index = RMinHashLSH(settings.near_threshold, settings.permutations, bands)
    near: dict[int, tuple[int, float]] = {}
    for done, row in enumerate(rows, start=1):
        if shingles(row):
            sketch = RMinHash(settings.permutations, SEED)
            sketch.update(shingles(row))
            scored = [(jaccard(shingles(row), shingles(other)), -other) for other in set(index.query(sketch))]
            similarity, other = max(scored, default=(0.0, 0))
            if scored and similarity >= settings.near_threshold:
                near[row] = (-other, similarity)
            else:
                index.insert(row, sketch)
        if done % REPORT_EVERY == 0 or done == len(rows):
            progress(done, len(rows), "reports compared")
    return near


def _dropped(dropped_id: str, kept_id: str, kind: str, similarity: float) -> dict[str, str | float]:
    reason = "The longer text stays; of two as long, the one with the lower id."
    return {
        "dropped_id": dropped_id,
        "kept_id": kept_id,
        "kind": kind,
        "similarity": similarity,
        "reason": reason,
    }

"""Finds duplicate reports and keeps one of each cluster.

Records which report is dropped for which, why, and in which kinds of facts the two conflict, and checks that none is lost.
The same text under two subjects is one report. A template under many is not, and neither are near copies of two subjects
whose facts conflict: both stay, and `conflicting` lists them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fine_tune_assets.core.progress import Progress
from fine_tune_assets.dedup.corpus import Corpus
from fine_tune_assets.dedup.duplicate_search import Comparison, Encoder, compare_reports
from fine_tune_assets.dedup.near_duplicates import CLEAR_SIMILARITY, Pairs
from fine_tune_assets.dedup.report_reader import ReportBatches, split_by_batch
from fine_tune_assets.dedup.retained_reports import Match, match_dropped, retention_reason
from fine_tune_assets.dedup.sketch_store import BANDS, SKETCHES, VECTORS, ArrayStore, MemoryStore
from fine_tune_assets.dedup.sketch_workers import open_sketch_pool
from fine_tune_assets.dedup.sketches import offsets_from_counts, side_hashes
from fine_tune_assets.dedup.word_hashes import Ints
from fine_tune_assets.embeddings.encoder import Encode
from fine_tune_assets.recipes.schema import DedupSettings
from fine_tune_assets.tables.dedup_rows import ConflictingReport, DuplicateReport
from fine_tune_assets.tables.record_classes import table_from_rows
from fine_tune_assets.tables.row_selection import ColumnSource


@dataclass(frozen=True)
class Duplicates:
    """Every report is in one of the two tables; `kept_id` always names a report in `unique`."""

    unique: pa.Table
    duplicates: pa.Table
    conflicting: pa.Table
    """Pairs of `unique` whose words are near duplicates and whose facts conflict."""
    boilerplate: Mapping[str, int]
    """Counts of excluded boilerplate: `segments`, `reports_with_boilerplate`, `reports_of_boilerplate_only`."""
    computed: Mapping[str, int]
    """Number of reports for which nothing was stored, by kind: `sketches`, `signatures`, `vectors`."""


def find_duplicates(
    reports: pa.Table,
    settings: DedupSettings,
    progress: Progress,
    encode: Encode | None = None,
    encoder_version: str = "",
    store: ArrayStore | None = None,
    threads: int = 1,
) -> Duplicates:
    """Split `scrubbed_reports` into unique and duplicate reports, independent of row order.

    `store` holds results of earlier runs. `threads` affects only the time. Without `encode`, semantic duplicates are not searched
    for.
    """
    return find_duplicates_in_batches(
        split_by_batch(reports), settings, progress, encode, encoder_version, store, threads
    )


def find_duplicates_in_batches(
    batches: Mapping[str, ColumnSource],
    settings: DedupSettings,
    progress: Progress,
    encode: Encode | None = None,
    encoder_version: str = "",
    store: ArrayStore | None = None,
    threads: int = 1,
) -> Duplicates:
    """Like find_duplicates, for `scrubbed_reports` by batch name; reads columns only when needed."""
    store = MemoryStore() if store is None else store
    reports = ReportBatches(batches)
    corpus = read_corpus(reports, store, threads, progress)
    # Prune vectors even when unused; a withheld report must not remain in them.
    kinds = (SKETCHES, BANDS, VECTORS) if encode else (SKETCHES, BANDS)
    store.prune((batch.name for batch in corpus.batches), kinds)
    is_kept = np.ones(len(reports), np.bool_)
    if not corpus.batches:
        dropped, conflicting = DuplicateReport.SCHEMA.empty_table(), ConflictingReport.SCHEMA.empty_table()
        return Duplicates(reports.unique_reports(is_kept), dropped, conflicting, {}, {})
    encoder = encode and Encoder(encode, encoder_version, reports.texts_at)
    comparison, conflicts = exclude_conflicting_pairs(corpus, compare_reports(corpus, settings, encoder, threads))
    dropped = match_dropped_with_copies(comparison)
    progress(len(reports), len(reports), "reports compared")
    is_kept[comparison.order[list(dropped)]] = False
    duplicates = _duplicates_table(corpus, comparison, dropped, reports)
    conflicting = _conflicting_table(corpus, comparison, conflicts, dropped)
    unique = reports.unique_reports(is_kept)
    return Duplicates(unique, duplicates, conflicting, comparison.boilerplate, dict(corpus.computed))


def exclude_conflicting_pairs(corpus: Corpus, comparison: Comparison) -> tuple[Comparison, Pairs]:
    """Remove near pairs that are two reports: facts conflict, and subjects differ or the similarity is not clear.

    Returns the remaining comparison and the removed pairs.
    """
    better, worse = comparison.order[comparison.near.rows].T
    has_conflict = np.array([bool(kinds) for kinds in _disagreements(corpus, worse, better)], np.bool_)
    subjects = np.asarray(pc.dictionary_encode(corpus.facts["subject_key"].combine_chunks()).indices)
    is_doubtful = (subjects[better] != subjects[worse]) | (comparison.near.similarity < CLEAR_SIMILARITY)
    is_removed: NDArray[np.bool_] = has_conflict & is_doubtful
    return replace(comparison, near=comparison.near.where(~is_removed)), comparison.near.where(is_removed)


def match_dropped_with_copies(comparison: Comparison) -> dict[int, Match]:
    """Map the rank of each dropped report, copies included, to its match."""
    dropped = match_dropped(comparison.matches)
    for rank, leader in enumerate(comparison.leaders.tolist()):
        if leader != rank:
            # If the leader itself is dropped, its copies are dropped for the same report.
            match = dropped.get(leader)
            dropped[rank] = (
                Match(match.better, rank, match.kind, match.similarity) if match else Match(leader, rank, "exact", 1.0)
            )
    return dropped


def read_corpus(reports: ReportBatches, store: ArrayStore, threads: int, progress: Progress) -> Corpus:
    """Sketch reports that have no stored sketch."""
    done = 0
    with open_sketch_pool(len(reports), threads) as sketchers:
        corpus = Corpus(store, sketchers)
        for name, part in reports.parts():
            corpus.add(name, part)
            done += part.num_rows
            progress(done, len(reports), "reports read")
    return corpus


def _duplicates_table(
    corpus: Corpus, comparison: Comparison, dropped: Mapping[int, Match], reports: ReportBatches
) -> pa.Table:
    ranks = sorted(dropped)
    dropped_places, kept_places = (
        comparison.order[np.array(side, dtype=np.int64)] for side in (ranks, [dropped[rank].better for rank in ranks])
    )
    facts = [corpus.facts.take(pa.array(places)).to_pylist() for places in (dropped_places, kept_places)]
    fingerprints = reports.fingerprints_at(dropped_places)
    rows = [
        {
            "dropped_id": own["report_id"],
            "kept_id": other["report_id"],
            "kind": dropped[rank].kind,
            "similarity": dropped[rank].similarity,
            "reason": retention_reason(other, own),
            "conflicts": kinds,
            "fingerprint": fingerprint,
        }
        for rank, own, other, kinds, fingerprint in zip(
            ranks, *facts, _disagreements(corpus, dropped_places, kept_places), fingerprints, strict=True
        )
    ]
    return table_from_rows(sorted(rows, key=lambda row: row["dropped_id"]), DuplicateReport.SCHEMA)


def _conflicting_table(
    corpus: Corpus, comparison: Comparison, conflicts: Pairs, dropped: Mapping[int, Match]
) -> pa.Table:
    """List the pairs of which neither report was dropped for a third one."""
    is_listed: NDArray[np.bool_] = np.asarray(~np.isin(conflicts.rows, list(dropped)).any(axis=1))
    pairs = conflicts.where(is_listed)
    better, worse = comparison.order[pairs.rows].T
    ids = [corpus.facts["report_id"].take(pa.array(places)).to_pylist() for places in (worse, better)]
    rows = [
        {"report_id": own, "other_id": other, "similarity": similarity, "conflicts": kinds}
        for own, other, similarity, kinds in zip(
            *ids, pairs.similarity.tolist(), _disagreements(corpus, worse, better), strict=True
        )
    ]
    return table_from_rows(sorted(rows, key=lambda row: (row["report_id"], row["other_id"])), ConflictingReport.SCHEMA)


def _disagreements(corpus: Corpus, dropped: Ints, kept: Ints) -> Iterator[list[str]]:
    """Yield the kinds of conflict of each pair, in a fixed order, so that an auditor knows which pairs to read.

    `numbers` and `sides`: the dropped report states some that the kept one lacks. `negations`: the counts differ.
    """
    facts, starts = corpus.concatenate("facts"), offsets_from_counts(corpus.concatenate("fact_counts"))
    negations = corpus.concatenate("negations")
    sides = set(side_hashes().tolist())
    for dropped_place, kept_place in zip(dropped.tolist(), kept.tolist(), strict=True):
        mine, theirs = (set(facts[starts[place] : starts[place + 1]].tolist()) for place in (dropped_place, kept_place))
        lost = mine - theirs
        conflicts = {
            "numbers": lost - sides,
            "sides": lost & sides,
            "negations": negations[dropped_place] != negations[kept_place],
        }
        yield [kind for kind, is_present in conflicts.items() if is_present]

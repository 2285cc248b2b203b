"""Finds reports that say the same, and drops all but one.

Owns the result: which report is dropped for which, why, and that none is lost. Does not know what a report means, and does
not ask whose it is, but for boilerplate: the same text under two patients is one report, a template under many is none.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fine_tune_assets.core.progress import Progress
from fine_tune_assets.core.tables import DUPLICATE_REPORTS, SCRUBBED_REPORTS, UNIQUE_REPORTS, check_table, table_of
from fine_tune_assets.dedup.choosing import Match, dropped_for, reason
from fine_tune_assets.dedup.comparing import Comparison, Encoder, compare
from fine_tune_assets.dedup.corpus import Corpus
from fine_tune_assets.dedup.disagreeing import disagreements
from fine_tune_assets.dedup.meaning import Encode
from fine_tune_assets.dedup.store import BANDS, SKETCHES, VECTORS, InMemory, Kept
from fine_tune_assets.dedup.words import Ints
from fine_tune_assets.dedup.workers import open_sketchers
from fine_tune_assets.recipes.schema import DedupSettings


@dataclass(frozen=True)
class Duplicates:
    """Every report is in one of the two tables, and `kept_id` always names a report in `unique`."""

    unique: pa.Table
    duplicates: pa.Table
    boilerplate: Mapping[str, int]
    """What was left out of the comparison: `segments`, `reports_with_some`, `reports_of_nothing_else`."""
    made: Mapping[str, int]
    """Of how many reports something had to be computed, since it was not kept: `sketches`, `signatures`, `vectors`."""


def find_duplicates(
    reports: pa.Table,
    settings: DedupSettings,
    progress: Progress,
    encode: Encode | None = None,
    encoder_version: str = "",
    kept: Kept | None = None,
    threads: int = 1,
) -> Duplicates:
    """Split a SCRUBBED_REPORTS table into unique and duplicate reports, the same for any order of its rows.

    `kept` holds what was computed of each batch in earlier runs; `threads` changes the time and nothing else. Without
    `encode` nothing is compared by its meaning.
    """
    check_table(reports, SCRUBBED_REPORTS)
    kept = InMemory() if kept is None else kept
    reports = reports.sort_by([("batch", "ascending"), ("report_id", "ascending")])
    corpus = _corpus(reports, settings, kept, threads, progress)
    is_by_meaning = encode is not None and settings.semantic_threshold is not None
    # Vectors that nobody asks for any more would not lose what is held back from now on.
    kinds = (SKETCHES, BANDS, VECTORS) if is_by_meaning else (SKETCHES, BANDS)
    kept.keep_only((batch.name for batch in corpus.batches), kinds)
    if not corpus.batches:
        return Duplicates(_unique(reports), table_of([], DUPLICATE_REPORTS), {}, {})
    texts = reports["tagged_text"]
    encoder = encode and Encoder(encode, encoder_version, lambda places: _strings_at(texts, places))
    comparison = compare(corpus, settings, encoder, threads)
    dropped = dropped_for_all(comparison)
    progress(reports.num_rows, reports.num_rows, "reports compared")
    is_kept = np.ones(reports.num_rows, np.bool_)
    is_kept[comparison.order[list(dropped)]] = False
    return Duplicates(
        _unique(reports.filter(pa.array(is_kept))),
        _explained(corpus, comparison, dropped, reports["fingerprint"]),
        comparison.boilerplate,
        dict(corpus.made),
    )


def dropped_for_all(comparison: Comparison) -> dict[int, Match]:
    """Rank → the match for which a report is dropped, copies included."""
    dropped = dropped_for(comparison.matches)
    for rank, leader in enumerate(comparison.leaders.tolist()):
        if leader != rank:
            # The leader may itself be dropped for a better report: then that one stands for its copies as well.
            why = dropped.get(leader)
            dropped[rank] = (
                Match(why.better, rank, why.kind, why.similarity) if why else Match(leader, rank, "exact", 1.0)
            )
    return dropped


def _corpus(reports: pa.Table, settings: DedupSettings, kept: Kept, threads: int, progress: Progress) -> Corpus:
    done = 0
    with open_sketchers(settings.shingle_words, reports.num_rows, threads) as sketchers:
        corpus = Corpus(kept, sketchers, settings.shingle_words)
        for name, batch in _by_batch(reports):
            corpus.add(name, batch)
            done += batch.num_rows
            progress(done, reports.num_rows, "reports read")
    return corpus


def _by_batch(reports: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """Each batch's rows; they are sorted by batch."""
    counts = pc.value_counts(reports["batch"].combine_chunks()).to_pylist()
    start = 0
    for entry in counts:
        yield entry["values"], reports.slice(start, entry["counts"])
        start += entry["counts"]


def _strings_at(texts: pa.ChunkedArray, places: Ints) -> pa.Array:
    taken = texts.take(pa.array(places, pa.int64())).cast(pa.large_string())
    return pa.concat_arrays(taken.chunks) if taken.num_chunks else pa.array([], pa.large_string())


def _unique(reports: pa.Table) -> pa.Table:
    return reports.select(UNIQUE_REPORTS.names).sort_by("report_id").cast(UNIQUE_REPORTS)


def _explained(
    corpus: Corpus, comparison: Comparison, dropped: Mapping[int, Match], fingerprints: pa.ChunkedArray
) -> pa.Table:
    ranks = sorted(dropped)
    gone, stays = (
        comparison.order[np.array(side, dtype=np.int64)] for side in (ranks, [dropped[rank].better for rank in ranks])
    )
    facts = [corpus.facts.take(pa.array(places)).to_pylist() for places in (gone, stays)]
    found = fingerprints.take(pa.array(gone)).to_pylist()
    rows = [
        {
            "dropped_id": own["report_id"],
            "kept_id": other["report_id"],
            "kind": dropped[rank].kind,
            "similarity": dropped[rank].similarity,
            "reason": reason(other, own),
            "disagrees_on": kinds,
            "fingerprint": fingerprint,
        }
        for rank, own, other, kinds, fingerprint in zip(
            ranks, *facts, disagreements(corpus, gone, stays), found, strict=True
        )
    ]
    return table_of(sorted(rows, key=lambda row: row["dropped_id"]), DUPLICATE_REPORTS)

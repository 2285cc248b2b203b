"""Finds reports that say the same, and drops all but one.

Owns the result: which report is dropped for which, why, in which kinds of facts the two disagree, and that none is lost. Does not
know what a report means, and does not ask whose it is, but for boilerplate: the same text under two patients is one report, a
template under many is none.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from fine_tune_assets.core.progress import Progress
from fine_tune_assets.dedup.batches import Batches, by_batch
from fine_tune_assets.dedup.comparison import Comparison, Encoder, compare
from fine_tune_assets.dedup.corpus import Corpus
from fine_tune_assets.dedup.retained_reports import Match, dropped_for, reason
from fine_tune_assets.dedup.sketches import side_hashes, starts_of
from fine_tune_assets.dedup.store import BANDS, SKETCHES, VECTORS, InMemory, Kept
from fine_tune_assets.dedup.words import Ints
from fine_tune_assets.dedup.workers import open_sketchers
from fine_tune_assets.embeddings.encoder import Encode
from fine_tune_assets.recipes.schema import DedupSettings
from fine_tune_assets.tables.columns import Columns
from fine_tune_assets.tables.dedup import DuplicateReport
from fine_tune_assets.tables.records import table_of


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
    """Split a `scrubbed_reports` table into unique and duplicate reports, the same for any order of its rows.

    `kept` holds what was computed of each batch in earlier runs; `threads` changes the time and nothing else. Without
    `encode` nothing is compared by its meaning.
    """
    return find_among(by_batch(reports), settings, progress, encode, encoder_version, kept, threads)


def find_among(
    batches: Mapping[str, Columns],
    settings: DedupSettings,
    progress: Progress,
    encode: Encode | None = None,
    encoder_version: str = "",
    kept: Kept | None = None,
    threads: int = 1,
) -> Duplicates:
    """The same for `scrubbed_reports` by the name of their batch, of which columns are read when they are needed."""
    kept = InMemory() if kept is None else kept
    reports = Batches(batches)
    corpus = read_corpus(reports, kept, threads, progress)
    # Vectors that are not needed would not lose a report that is withheld from now on.
    kinds = (SKETCHES, BANDS, VECTORS) if encode else (SKETCHES, BANDS)
    kept.keep_only((batch.name for batch in corpus.batches), kinds)
    is_kept = np.ones(len(reports), np.bool_)
    if not corpus.batches:
        return Duplicates(reports.unique(is_kept), table_of([], DuplicateReport.SCHEMA), {}, {})
    encoder = encode and Encoder(encode, encoder_version, reports.texts_at)
    comparison = compare(corpus, settings, encoder, threads)
    dropped = dropped_for_all(comparison)
    progress(len(reports), len(reports), "reports compared")
    is_kept[comparison.order[list(dropped)]] = False
    duplicates = _explained(corpus, comparison, dropped, reports)
    return Duplicates(reports.unique(is_kept), duplicates, comparison.boilerplate, dict(corpus.made))


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


def read_corpus(reports: Batches, kept: Kept, threads: int, progress: Progress) -> Corpus:
    """Sketches what is not kept."""
    done = 0
    with open_sketchers(len(reports), threads) as sketchers:
        corpus = Corpus(kept, sketchers)
        for name, part in reports.parts():
            corpus.add(name, part)
            done += part.num_rows
            progress(done, len(reports), "reports read")
    return corpus


def _explained(corpus: Corpus, comparison: Comparison, dropped: Mapping[int, Match], reports: Batches) -> pa.Table:
    ranks = sorted(dropped)
    gone, stays = (
        comparison.order[np.array(side, dtype=np.int64)] for side in (ranks, [dropped[rank].better for rank in ranks])
    )
    facts = [corpus.facts.take(pa.array(places)).to_pylist() for places in (gone, stays)]
    found = reports.fingerprints_at(gone)
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
            ranks, *facts, _disagreements(corpus, gone, stays), found, strict=True
        )
    ]
    return table_of(sorted(rows, key=lambda row: row["dropped_id"]), DuplicateReport.SCHEMA)


def _disagreements(corpus: Corpus, dropped: Ints, kept: Ints) -> Iterator[list[str]]:
    """For each pair of places the kinds, in one order; they tell an auditor which pairs to read, and keep no report.

    `numbers` and `sides`: the dropped report states some that the kept one lacks. `denials`: it says no more or less often.
    """
    facts, starts = corpus.all_of("facts"), starts_of(corpus.all_of("fact_counts"))
    denials = corpus.all_of("negations")
    sides = set(side_hashes().tolist())
    for gone, stays in zip(dropped.tolist(), kept.tolist(), strict=True):
        mine, theirs = (set(facts[starts[place] : starts[place + 1]].tolist()) for place in (gone, stays))
        lost = mine - theirs
        found = {"numbers": lost - sides, "sides": lost & sides, "denials": denials[gone] != denials[stays]}
        yield [kind for kind, is_there in found.items() if is_there]

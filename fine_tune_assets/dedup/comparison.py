"""Compares all reports of a corpus: exact, then near and semantic duplicates among those that differ.

Owns the order of the work and what it counts. Does not choose what stays.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fine_tune_assets.dedup.boilerplate import is_among
from fine_tune_assets.dedup.corpus import Corpus
from fine_tune_assets.dedup.near import Pairs, find_boilerplate, near_pairs
from fine_tune_assets.dedup.retained_reports import Match, best_first, exact_leaders
from fine_tune_assets.dedup.semantic import TextsAt, semantic_pairs
from fine_tune_assets.dedup.signatures import SMALL_BUCKET
from fine_tune_assets.dedup.words import Hashes, Ints
from fine_tune_assets.embeddings.encoder import Encode
from fine_tune_assets.recipes.schema import DedupSettings


@dataclass(frozen=True)
class Encoder:
    """What comparing by meaning needs."""

    encode: Encode
    version: str
    texts_at: TextsAt


@dataclass(frozen=True)
class Comparison:
    order: Ints
    """Places of the corpus in order of rank. All other numbers here are ranks."""
    leaders: Ints
    """Of each report the best one with the same words."""
    near: Pairs
    semantic: Pairs
    boilerplate: Mapping[str, int]

    @property
    def matches(self) -> list[Match]:
        """Between leaders, near and semantic."""
        kinds = (("near", self.near), ("semantic", self.semantic))
        return [
            Match(int(better), int(worse), kind, float(similarity))  # type: ignore[arg-type]
            for kind, pairs in kinds
            for (better, worse), similarity in zip(pairs.rows, pairs.similarity, strict=True)
        ]


def compare(
    corpus: Corpus,
    settings: DedupSettings,
    encoder: Encoder | None,
    threads: int = 1,
    all_pairs_up_to: int = SMALL_BUCKET,
    *,
    leave_out_boilerplate: bool = True,
) -> Comparison:
    """Without an encoder nothing is compared by its meaning."""
    order = best_first(corpus.facts)
    leaders = exact_leaders(corpus.all_of("exact")[order])
    ranks = np.flatnonzero(leaders == np.arange(len(leaders)))
    places = order[ranks]
    boilerplate = find_boilerplate(corpus, places, settings) if leave_out_boilerplate else np.zeros(0, np.uint64)
    near = near_pairs(corpus, boilerplate, places, settings, threads, all_pairs_up_to)
    semantic = Pairs(np.zeros((0, 2), np.int64), np.zeros(0))
    if encoder is not None:
        semantic = semantic_pairs(
            corpus, boilerplate, places, encoder.texts_at, settings.semantic_threshold, encoder.encode, encoder.version
        )
    near, semantic = (Pairs(ranks[pairs.rows], pairs.similarity) for pairs in (near, semantic))
    return Comparison(order, leaders, near, semantic, _counts(corpus, boilerplate))


def _counts(corpus: Corpus, boilerplate: Hashes) -> dict[str, int]:
    """What was left out: different segments, reports that have some, and reports that consist of nothing else."""
    with_some = of_nothing_else = 0
    for batch in corpus.batches:
        counts = batch.sketches.segment_counts
        text_of = np.repeat(np.arange(len(batch)), counts)
        left_out = np.bincount(text_of[is_among(batch.sketches.segments, boilerplate)], minlength=len(batch))
        with_some += int((left_out > 0).sum())
        of_nothing_else += int(((left_out == counts) & (counts > 0)).sum())
    return {
        "segments": len(boilerplate),
        "reports_with_some": with_some,
        "reports_of_nothing_else": of_nothing_else,
    }

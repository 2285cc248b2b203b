"""Compares all reports of a corpus: exact duplicates first, then near and semantic duplicates among the rest.

retained_reports.py decides which report is kept.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fine_tune_assets.dedup.boilerplate import flag_boilerplate
from fine_tune_assets.dedup.corpus import Corpus
from fine_tune_assets.dedup.minhash import EXHAUSTIVE_BUCKET_SIZE
from fine_tune_assets.dedup.near_duplicates import Pairs, find_boilerplate, find_near_pairs
from fine_tune_assets.dedup.retained_reports import Match, find_exact_leaders, rank_reports
from fine_tune_assets.dedup.semantic_duplicates import TextsAt, find_semantic_pairs
from fine_tune_assets.dedup.word_hashes import Hashes, Ints
from fine_tune_assets.embeddings.encoder import Encode
from fine_tune_assets.recipes.schema import DedupSettings


@dataclass(frozen=True)
class Encoder:
    """The sentence encoder for semantic comparison."""

    encode: Encode
    version: str
    texts_at: TextsAt


@dataclass(frozen=True)
class Comparison:
    order: Ints
    """Corpus places sorted by rank. All other numbers here are ranks."""
    leaders: Ints
    """For each report, the best-ranked one with the same words."""
    near: Pairs
    semantic: Pairs
    boilerplate: Mapping[str, int]

    @property
    def matches(self) -> list[Match]:
        """Near and semantic matches between leaders."""
        kinds = (("near", self.near), ("semantic", self.semantic))
        return [
            Match(int(better), int(worse), kind, float(similarity))  # type: ignore[arg-type]
            for kind, pairs in kinds
            for (better, worse), similarity in zip(pairs.rows, pairs.similarity, strict=True)
        ]


def compare_reports(
    corpus: Corpus,
    settings: DedupSettings,
    encoder: Encoder | None,
    threads: int = 1,
    exhaustive_bucket_size: int = EXHAUSTIVE_BUCKET_SIZE,
    *,
    ignore_boilerplate: bool = True,
) -> Comparison:
    """Without an encoder, semantic duplicates are not searched for."""
    order = rank_reports(corpus.facts)
    leaders = find_exact_leaders(corpus.concatenate("exact")[order])
    ranks = np.flatnonzero(leaders == np.arange(len(leaders)))
    places = order[ranks]
    boilerplate = find_boilerplate(corpus, places, settings) if ignore_boilerplate else np.zeros(0, np.uint64)
    near = find_near_pairs(corpus, boilerplate, places, settings, threads, exhaustive_bucket_size)
    semantic = Pairs(np.zeros((0, 2), np.int64), np.zeros(0))
    if encoder is not None:
        semantic = find_semantic_pairs(
            corpus, boilerplate, places, encoder.texts_at, settings.semantic_threshold, encoder.encode, encoder.version
        )
    near, semantic = (Pairs(ranks[pairs.rows], pairs.similarity) for pairs in (near, semantic))
    return Comparison(order, leaders, near, semantic, _boilerplate_counts(corpus, boilerplate))


def _boilerplate_counts(corpus: Corpus, boilerplate: Hashes) -> dict[str, int]:
    """Count excluded segments, reports that contain some, and reports that consist only of boilerplate."""
    with_some = of_nothing_else = 0
    for batch in corpus.batches:
        counts = batch.sketches.segment_counts
        text_of = np.repeat(np.arange(len(batch)), counts)
        left_out = np.bincount(text_of[flag_boilerplate(batch.sketches.segments, boilerplate)], minlength=len(batch))
        with_some += int((left_out > 0).sum())
        of_nothing_else += int(((left_out == counts) & (counts > 0)).sum())
    return {
        "segments": len(boilerplate),
        "reports_with_boilerplate": with_some,
        "reports_of_boilerplate_only": of_nothing_else,
    }

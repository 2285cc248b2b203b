"""Finds duplicates between groups, such as the splits of an instruction set.

Implements `PairFinder`, so that other packages can search for leakage without depending on deduplication. Stores and drops
nothing.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from fine_tune_assets.core.shared_records import PairFinder, TextPair
from fine_tune_assets.dedup.corpus import Corpus
from fine_tune_assets.dedup.duplicate_search import Comparison, Encoder, compare_reports
from fine_tune_assets.dedup.retained_reports import WRITTEN_ON, Kind
from fine_tune_assets.dedup.sketch_store import MemoryStore
from fine_tune_assets.dedup.sketch_workers import open_sketch_pool
from fine_tune_assets.dedup.word_hashes import Ints
from fine_tune_assets.embeddings.encoder import Encode
from fine_tune_assets.recipes.schema import DedupSettings

_EXHAUSTIVE_BUCKET_SIZE = 1_000
"""Buckets up to this size are compared pairwise in full: a missed pair would be an undetected leak."""


def pair_finder(
    settings: DedupSettings,
    encode: Encode | None,
    encoder_version: str = "",
    *,
    ignore_boilerplate: bool,
    threads: int = 1,
) -> PairFinder:
    """Create a PairFinder. Without `encode`, semantic duplicates are not searched for.

    To find leaks, compare whole texts: shared phrases count as boilerplate, and texts copied from them would be compared by the
    little that remains.

    Of texts with the same words, each text is paired with one text of each other group: a line shared by 5,000 examples of both
    splits would otherwise make 25 million pairs.
    """

    def find(texts: Sequence[str], groups: Sequence[str]) -> list[TextPair]:
        if not len(texts) == len(groups):
            raise ValueError("texts and groups must have the same length")
        if not texts:
            return []
        corpus = _corpus(texts, threads)
        array = pa.array(texts, pa.large_string())
        encoder = encode and Encoder(encode, encoder_version, lambda places: array.take(pa.array(places)))
        comparison = compare_reports(
            corpus, settings, encoder, threads, _EXHAUSTIVE_BUCKET_SIZE, ignore_boilerplate=ignore_boilerplate
        )
        return sorted(_pairs(comparison, groups), key=lambda pair: (pair.first, pair.second))

    return find


def _corpus(texts: Sequence[str], threads: int) -> Corpus:
    with open_sketch_pool(len(texts), threads) as sketchers:
        corpus = Corpus(MemoryStore(), sketchers)
        corpus.add("texts", _report_table(texts))
    return corpus


def _pairs(comparison: Comparison, groups: Sequence[str]) -> Iterable[TextPair]:
    same = _identical_texts(comparison.order, comparison.leaders, groups)
    pairs: dict[tuple[int, int], TextPair] = {}
    for leader in same.values():
        _add_pairs(pairs, _pairs_across_groups(leader, leader), "exact", 1.0)
    for match in comparison.matches:
        _add_pairs(pairs, _pairs_across_groups(same[match.better], same[match.worse]), match.kind, match.similarity)
    return pairs.values()


def _report_table(texts: Sequence[str]) -> pa.Table:
    """Give each text its own subject and an id that sorts like `texts`, so that a place is an index into `texts`."""
    ids = [f"{number:09}" for number in range(len(texts))]
    array = pa.array(texts, pa.large_string())
    length = pc.utf8_length(array).cast(pa.int64())
    never = pa.nulls(len(ids), pa.date32())
    return pa.table({"report_id": ids, "subject_key": ids, "length": length, WRITTEN_ON: never, "tagged_text": array})


def _identical_texts(order: Ints, leaders: Ints, groups: Sequence[str]) -> dict[int, dict[str, list[int]]]:
    """Leader → group → indexes of identical texts, in order."""
    same: dict[int, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for place, leader in sorted(zip(order.tolist(), leaders.tolist(), strict=True)):
        same[leader][groups[place]].append(place)
    return same


def _pairs_across_groups(one: dict[str, list[int]], other: dict[str, list[int]]) -> Iterable[tuple[int, int]]:
    """Pair every text with the first one of each other group, so that each occurs without a quadratic number of pairs."""
    for group, texts in one.items():
        for other_group, others in other.items():
            if group != other_group:
                yield from ((text, others[0]) for text in texts)
                yield from ((texts[0], text) for text in others)


def _add_pairs(
    pairs: dict[tuple[int, int], TextPair], found: Iterable[tuple[int, int]], kind: Kind, similarity: float
) -> None:
    """Earlier, more certain kinds take precedence."""
    for one, other in found:
        first, second = sorted((one, other))
        pairs.setdefault((first, second), TextPair(first, second, kind, similarity))

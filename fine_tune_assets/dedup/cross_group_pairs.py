"""Pairs of duplicates that lie in two groups, such as two splits of an instruction set.

Owns the seam `PairFinder`: another package asks for leakage without knowing how duplicates are found. Nothing is stored,
and nobody is dropped.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from fine_tune_assets.core.records import PairFinder, TextPair
from fine_tune_assets.dedup.comparison import Comparison, Encoder, compare
from fine_tune_assets.dedup.corpus import Corpus
from fine_tune_assets.dedup.retained_reports import WRITTEN_ON, Kind
from fine_tune_assets.dedup.store import InMemory
from fine_tune_assets.dedup.words import Ints
from fine_tune_assets.dedup.workers import open_sketchers
from fine_tune_assets.embeddings.encoder import Encode
from fine_tune_assets.recipes.schema import DedupSettings

_ALL_PAIRS_UP_TO = 1_000
"""Texts of one bucket that are compared each with each: here a pair that is missed is a leak that nobody sees."""


def pair_finder(
    settings: DedupSettings,
    encode: Encode | None,
    encoder_version: str = "",
    *,
    leave_out_boilerplate: bool,
    threads: int = 1,
) -> PairFinder:
    """Without `encode`, meaning is not compared.

    Whoever looks for leaks compares whole texts: a phrase that many texts share is boilerplate, and what is copied of such
    phrases would be compared by the little that is left of it.

    Of texts with the same words, one pair is named for each text and each other group it is found in, not one for each two:
    a line that 5,000 examples of either split share would else make 25 million pairs.
    """

    def find(texts: Sequence[str], groups: Sequence[str]) -> list[TextPair]:
        if not len(texts) == len(groups):
            raise ValueError("Each text needs a group.")
        if not texts:
            return []
        corpus = _corpus(texts, threads)
        array = pa.array(texts, pa.large_string())
        encoder = encode and Encoder(encode, encoder_version, lambda places: array.take(pa.array(places)))
        comparison = compare(
            corpus, settings, encoder, threads, _ALL_PAIRS_UP_TO, leave_out_boilerplate=leave_out_boilerplate
        )
        return sorted(_pairs(comparison, groups), key=lambda pair: (pair.first, pair.second))

    return find


def _corpus(texts: Sequence[str], threads: int) -> Corpus:
    with open_sketchers(len(texts), threads) as sketchers:
        corpus = Corpus(InMemory(), sketchers)
        corpus.add("texts", _as_reports(texts))
    return corpus


def _pairs(comparison: Comparison, groups: Sequence[str]) -> Iterable[TextPair]:
    same = _same(comparison.order, comparison.leaders, groups)
    pairs: dict[tuple[int, int], TextPair] = {}
    for leader in same.values():
        _add(pairs, _crossing(leader, leader), "exact", 1.0)
    for match in comparison.matches:
        _add(pairs, _crossing(same[match.better], same[match.worse]), match.kind, match.similarity)
    return pairs.values()


def _as_reports(texts: Sequence[str]) -> pa.Table:
    """Each of a patient of its own; ids that sort as the texts stand, so that a place is a number in `texts`."""
    ids = [f"{number:09}" for number in range(len(texts))]
    array = pa.array(texts, pa.large_string())
    length = pc.utf8_length(array).cast(pa.int64())
    never = pa.nulls(len(ids), pa.date32())
    return pa.table({"report_id": ids, "patient_key": ids, "length": length, WRITTEN_ON: never, "tagged_text": array})


def _same(order: Ints, leaders: Ints, groups: Sequence[str]) -> dict[int, dict[str, list[int]]]:
    """Leader → group → the texts with its words, in order."""
    same: dict[int, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for place, leader in sorted(zip(order.tolist(), leaders.tolist(), strict=True)):
        same[leader][groups[place]].append(place)
    return same


def _crossing(one: dict[str, list[int]], other: dict[str, list[int]]) -> Iterable[tuple[int, int]]:
    """Every text of either with the first one of each other group of the other: each occurs, and none too often."""
    for group, texts in one.items():
        for other_group, others in other.items():
            if group != other_group:
                yield from ((text, others[0]) for text in texts)
                yield from ((texts[0], text) for text in others)


def _add(
    pairs: dict[tuple[int, int], TextPair], found: Iterable[tuple[int, int]], kind: Kind, similarity: float
) -> None:
    """The surest kind comes first and stays."""
    for one, other in found:
        first, second = sorted((one, other))
        pairs.setdefault((first, second), TextPair(first, second, kind, similarity))

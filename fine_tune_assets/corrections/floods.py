"""Corrections that say nearly the same to nearly the same question: many of them weigh more than they should.

Owns who belongs together. Does not know how near-same texts are found.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from fine_tune_assets.claims.saying import normal
from fine_tune_assets.core.records import PairFinder


def near_identical(corrections: Sequence[Mapping[str, Any]], find_pairs: PairFinder) -> dict[str, int]:
    """Correction id → how many corrections say nearly the same, itself included, whoever sent them.

    What is linked by a chain of near-same texts is one flood. Equal texts are one to `find_pairs`: ten thousand would else
    make fifty million pairs.
    """
    ids_by_text: dict[str, list[str]] = defaultdict(list)
    for row in corrections:
        ids_by_text[normal(f"{row['instruction']}\n{row['input']}\n{row['output']}")].append(row["correction_id"])
    texts = list(ids_by_text)
    leaders = list(range(len(texts)))

    def leader_of(place: int) -> int:
        while leaders[place] != place:
            place = leaders[place]
        return place

    for pair in find_pairs(texts, [str(place) for place in range(len(texts))]):
        leaders[leader_of(pair.first)] = leader_of(pair.second)
    sizes: dict[int, int] = defaultdict(int)
    for place, text in enumerate(texts):
        sizes[leader_of(place)] += len(ids_by_text[text])
    return {one: sizes[leader_of(place)] for place, text in enumerate(texts) for one in ids_by_text[text]}

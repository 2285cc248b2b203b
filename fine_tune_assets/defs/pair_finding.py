"""How two texts of different splits are found to say the same.

Belongs here: handing a finder and its description to `instructions/`. Must stay out: what is done about a pair.
"""

from collections.abc import Sequence

from rensa import RMinHash, RMinHashLSH

from fine_tune_assets.core.records import PairFinder, TextPair
from fine_tune_assets.dedup.finding import SEED, bands_for, jaccard, shingles_of
from fine_tune_assets.recipes.schema import DedupSettings


def pair_finder(settings: DedupSettings) -> tuple[PairFinder, str]:
    """A finder and what it looks for, in words."""
    shingles = f"shingles of {settings.shingle_words} words"
    described = f"the same words; near from a Jaccard similarity of {settings.near_threshold} over {shingles}"
    return lambda texts, groups: _near_pairs(texts, groups, settings), described


def _near_pairs(texts: Sequence[str], groups: Sequence[str], settings: DedupSettings) -> list[TextPair]:
    shingles = [shingles_of(text, settings.shingle_words) for text in texts]
    bands = bands_for(settings.near_threshold, settings.permutations)
    index = RMinHashLSH(settings.near_threshold, settings.permutations, bands)
    pairs = []
    for second, of_text in enumerate(shingles):
        if not of_text:
            continue
        sketch = RMinHash(settings.permutations, SEED)
        sketch.update(of_text)
        for first in sorted(set(index.query(sketch))):
            similarity = jaccard(shingles[first], of_text)
            if groups[first] != groups[second] and similarity >= settings.near_threshold:
                pairs.append(TextPair(first, second, "exact" if similarity == 1 else "near", similarity))
        index.insert(second, sketch)
    return sorted(pairs, key=lambda pair: (pair.first, pair.second))

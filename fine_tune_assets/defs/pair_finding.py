"""How two texts of different groups are found to say the same.

Belongs here: handing a finder and its description to `approval/` and `instructions/`. Must stay out: what is done about a pair.
"""

import os
from functools import partial

from fine_tune_assets.core.fingerprints import short
from fine_tune_assets.core.records import PairFinder
from fine_tune_assets.dedup.crossing import pair_finder
from fine_tune_assets.defs.resources import Installation
from fine_tune_assets.embeddings.encoder import encode_passages, encoder_version
from fine_tune_assets.embeddings.remembered import Remembered

VECTORS = "leaks/vectors.npz"
"""Below the cache. An erasure removes it as a whole."""


def threads_of(installation: Installation) -> int:
    return installation.settings.threads or len(os.sched_getaffinity(0))


def words_finder(installation: Installation) -> PairFinder:
    """Exact and near duplicates."""
    return pair_finder(installation.recipe.dedup, encode=None, threads=threads_of(installation))


def words_and_meaning_finder(installation: Installation) -> tuple[PairFinder, str]:
    """Exact, near and, where the recipe asks for it, semantic duplicates; and what is looked for, in words."""
    settings, threads = installation.recipe.dedup, threads_of(installation)
    words = (
        f"the same words; near from a Jaccard similarity of {settings.near_threshold} over shingles of "
        f"{settings.shingle_words} words"
    )
    if settings.semantic_threshold is None:
        return words_finder(installation), f"{words}; likeness of meaning was not looked for"
    version = encoder_version()
    encode = Remembered(partial(encode_passages, threads=threads), version, installation.layout.cache / VECTORS)
    meaning = f"meaning from a cosine of {settings.semantic_threshold} (all-MiniLM-L6-v2, {short(version)})"
    return pair_finder(settings, encode, version, threads=threads), f"{words}; {meaning}"

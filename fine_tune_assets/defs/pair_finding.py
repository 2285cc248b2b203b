"""How two texts of different groups are found to say the same.

Belongs here: handing a finder and its description to `approval/` and `instructions/`. Must stay out: what is done about a pair.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from fine_tune_assets.core.fingerprints import short
from fine_tune_assets.core.records import PairFinder
from fine_tune_assets.dedup.choosing import Kind
from fine_tune_assets.dedup.crossing import pair_finder
from fine_tune_assets.defs.resources import Installation
from fine_tune_assets.embeddings.encoder import encode_passages, encoder_version
from fine_tune_assets.embeddings.remembered import Remembered

VECTORS = "leaks/vectors.npz"
"""Below the cache. An erasure removes it as a whole."""


def threads_of(installation: Installation) -> int:
    return installation.settings.threads or len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class LeakFinders:
    """What looks for leaks: in whole texts, boilerplate included."""

    words: PairFinder
    """Exact and near duplicates."""
    all_kinds: PairFinder
    kinds: tuple[Kind, ...]
    """What `all_kinds` compares."""
    described: str
    """What `all_kinds` looks for, for an auditor."""


def near_input_finder(installation: Installation) -> PairFinder:
    """Exact and near duplicates by what is not boilerplate: two drafts that share a template don't answer one question."""
    return pair_finder(
        installation.recipe.dedup, encode=None, leave_out_boilerplate=True, threads=threads_of(installation)
    )


def whole_text_finder(installation: Installation) -> PairFinder:
    """Exact and near duplicates in whole texts: who floods a system must not be taken for boilerplate."""
    return pair_finder(
        installation.recipe.dedup, encode=None, leave_out_boilerplate=False, threads=threads_of(installation)
    )


@contextmanager
def leak_finders(installation: Installation) -> Iterator[LeakFinders]:
    """By meaning too, where the recipe asks for it. At the end the vectors go that were not asked for."""
    settings, threads = installation.recipe.dedup, threads_of(installation)
    words = whole_text_finder(installation)
    described = (
        f"the same words in whole texts; near from a Jaccard similarity of {settings.near_threshold} over shingles of "
        f"{settings.shingle_words} words"
    )
    file = installation.layout.cache / VECTORS
    if settings.semantic_threshold is None:
        file.unlink(missing_ok=True)
        yield LeakFinders(words, words, ("exact", "near"), described)
        return
    version = encoder_version()
    encode = Remembered(partial(encode_passages, threads=threads), version, file)
    all_kinds = pair_finder(settings, encode, version, leave_out_boilerplate=False, threads=threads)
    meaning = f"meaning from a cosine of {settings.semantic_threshold} (all-MiniLM-L6-v2, {short(version)})"
    try:
        yield LeakFinders(words, all_kinds, ("exact", "near", "semantic"), f"{described}; {meaning}")
    finally:
        encode.forget_others()

"""Finders of duplicate texts across groups, configured by the recipe, for approval, instruction sets and corrections."""

import os

from fine_tune_assets.core.shared_records import PairFinder
from fine_tune_assets.dedup.cross_group_pairs import pair_finder
from fine_tune_assets.defs.platform.resources import Installation


def count_threads(installation: Installation) -> int:
    return installation.settings.threads or len(os.sched_getaffinity(0))


def near_input_finder(installation: Installation) -> PairFinder:
    """Find exact and near duplicates, ignoring boilerplate: drafts that share only a template are not duplicates."""
    return pair_finder(
        installation.recipe.dedup, encode=None, ignore_boilerplate=True, threads=count_threads(installation)
    )


def whole_text_finder(installation: Installation) -> PairFinder:
    """Find exact and near duplicates in whole texts: text that floods the system must not count as boilerplate."""
    return pair_finder(
        installation.recipe.dedup, encode=None, ignore_boilerplate=False, threads=count_threads(installation)
    )

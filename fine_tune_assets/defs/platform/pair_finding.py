"""How two texts of different groups are found to say the same.

Belongs here: handing a finder to `approval/`, `instructions/` and `corrections/`. Must stay out: what is done about a pair.
"""

import os

from fine_tune_assets.core.records import PairFinder
from fine_tune_assets.dedup.cross_group_pairs import pair_finder
from fine_tune_assets.defs.platform.resources import Installation


def threads_of(installation: Installation) -> int:
    return installation.settings.threads or len(os.sched_getaffinity(0))


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

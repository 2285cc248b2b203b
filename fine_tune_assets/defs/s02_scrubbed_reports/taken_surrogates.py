"""Stage 2, what a later batch does to an earlier one: a surrogate may turn out to be a real value.

Belongs here: which batches must choose their surrogates again, as an external asset. Must stay out: how surrogates are chosen
(see `phi/`).
"""

from functools import lru_cache
from pathlib import Path

import dagster as dg

from fine_tune_assets.core.fingerprints import combine, fingerprint_listing
from fine_tune_assets.defs.platform.automation import batch_event, batch_versions
from fine_tune_assets.defs.platform.metadata import OWNERS
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.defs.s01_raw_reports.raw_reports import BATCHES
from fine_tune_assets.phi.replacement.surrogates import taken_surrogates

taken_surrogates_of_batches = dg.AssetSpec(
    "taken_surrogates",
    partitions_def=BATCHES,
    group_name="s02_scrubbed_reports",
    description="For each batch, which of its invented values a later batch holds as a real one. It then chooses others.",
    owners=OWNERS["clinical"],
    kinds={"parquet"},
)


def batches_with_taken_surrogates(installation: Installation) -> dict[str, list[str]]:
    folder = installation.stored("identifier_values").folder
    return _taken(folder, fingerprint_listing(folder)) if folder.is_dir() else {}


def batches_to_choose_again(instance: dg.DagsterInstance, installation: Installation) -> list[dg.AssetMaterialization]:
    """An event for each batch in which other surrogates than those last reported are taken; most batches never have one."""
    taken = batches_with_taken_surrogates(installation)
    known = batch_versions(instance, taken_surrogates_of_batches.key)
    # A batch that chose others has none any more, and is told so: a value that comes back later must be news again.
    versions = {batch: combine(taken.get(batch, ())) for batch in {*taken, *known}}
    return [
        batch_event(taken_surrogates_of_batches.key, batch, version)
        for batch, version in sorted(versions.items())
        if known.get(batch) != version
    ]


@lru_cache(maxsize=1)
def _taken(folder: Path, _listed: str) -> dict[str, list[str]]:
    """Remembered until a table changes: it is asked for at every tick."""
    return taken_surrogates(folder)

"""Stage 2: detects surrogates that occur as real values in another batch, so that their batch chooses new ones."""

from functools import lru_cache
from pathlib import Path

import dagster as dg

from fine_tune_assets.core.fingerprints import combine, fingerprint_listing
from fine_tune_assets.defs.platform.automation import batch_event, batch_versions
from fine_tune_assets.defs.platform.metadata import OWNERS
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.defs.s01_raw_reports.raw_reports import BATCHES
from fine_tune_assets.phi.replacement.surrogates import find_surrogate_collisions

surrogate_collisions = dg.AssetSpec(
    "surrogate_collisions",
    partitions_def=BATCHES,
    group_name="s02_scrubbed_reports",
    description="The invented values of each batch that are real values in another batch. The batch then chooses new ones.",
    owners=OWNERS["clinical"],
    kinds={"parquet"},
)


def collisions_by_batch(installation: Installation) -> dict[str, list[str]]:
    folder = installation.stored("identifier_values").folder
    return _cached_collisions(folder, fingerprint_listing(folder)) if folder.is_dir() else {}


def report_surrogate_collisions(
    instance: dg.DagsterInstance, installation: Installation
) -> list[dg.AssetMaterialization]:
    """An event for each batch whose collisions changed. Most batches never have one."""
    collisions = collisions_by_batch(installation)
    known = batch_versions(instance, surrogate_collisions.key)
    # A batch without collisions left gets an event too, so that the same collision is detected if it returns.
    versions = {batch: combine(collisions.get(batch, ())) for batch in {*collisions, *known}}
    return [
        batch_event(surrogate_collisions.key, batch, version)
        for batch, version in sorted(versions.items())
        if known.get(batch) != version
    ]


@lru_cache(maxsize=1)
def _cached_collisions(folder: Path, _listed: str) -> dict[str, list[str]]:
    """Cached until a table changes, since every sensor tick needs it."""
    return find_surrogate_collisions(folder)

"""Stage 2: batches that must be scrubbed again: reviewers marked a missed identifier, or an invented value proved real."""

from functools import lru_cache
from pathlib import Path

import dagster as dg

from fine_tune_assets.core.fingerprints import combine, fingerprint_listing
from fine_tune_assets.defs.platform.asset_keys import asset_key
from fine_tune_assets.defs.platform.automation import batch_event, batch_versions
from fine_tune_assets.defs.platform.metadata import OWNERS
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.defs.s01_raw_reports.raw_reports import BATCHES
from fine_tune_assets.defs.s02_scrubbed_reports.missed_identifiers import marks_by_batch
from fine_tune_assets.phi.replacement.surrogates import find_surrogate_collisions

rescrub_requests = dg.AssetSpec(
    "rescrub_requests",
    partitions_def=BATCHES,
    group_name="s02_scrubbed_reports",
    description="Why a batch must be scrubbed again: identifiers that reviewers marked as missed, and invented values that are "
    "real values in another batch.",
    owners=OWNERS["clinical"],
    kinds={"sqlite"},
    tags={"phi": "yes"},
)


def report_rescrub_requests(instance: dg.DagsterInstance, installation: Installation) -> list[dg.AssetMaterialization]:
    """An event for each batch whose marks or collisions changed; most batches never have one. Raises LedgerError."""
    marks, collisions = marks_by_batch(installation), collisions_by_batch(installation)
    known = batch_versions(instance, asset_key("rescrub_requests"))
    if not (marks or collisions or known):
        return []
    # A batch without requests left gets an event too, so that the same collision is detected if it returns.
    batches = {*marks, *collisions, *known} & set(instance.get_dynamic_partitions(str(BATCHES.name)))
    versions = {batch: combine([*marks.get(batch, ()), "", *collisions.get(batch, ())]) for batch in batches}
    return [
        batch_event(asset_key("rescrub_requests"), batch, version)
        for batch, version in sorted(versions.items())
        if known.get(batch) != version
    ]


def collisions_by_batch(installation: Installation) -> dict[str, list[str]]:
    """Batch → keyed hashes of its invented values that are real values in another batch."""
    folder = installation.stored("identifier_values").folder
    return _cached_collisions(folder, fingerprint_listing(folder)) if folder.is_dir() else {}


@lru_cache(maxsize=1)
def _cached_collisions(folder: Path, _listed: str) -> dict[str, list[str]]:
    """Cached until a table changes, since every sensor tick needs it."""
    return find_surrogate_collisions(folder)

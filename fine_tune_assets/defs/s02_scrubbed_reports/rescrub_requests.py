"""Stage 2: batches that must be scrubbed again: reviewers marked a missed identifier, or an invented value proved real."""

from functools import lru_cache
from pathlib import Path

import dagster as dg

from fine_tune_assets.core.fingerprints import combine, fingerprint_listing
from fine_tune_assets.defs.platform.asset_keys import asset_key
from fine_tune_assets.defs.platform.automation import batch_event, batch_versions, list_changed_batches
from fine_tune_assets.defs.platform.metadata import OWNERS
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.defs.s01_raw_reports.raw_reports import BATCHES
from fine_tune_assets.defs.s02_scrubbed_reports.missed_identifiers import marks_by_batch
from fine_tune_assets.phi.replacement.surrogates import find_surrogate_collisions

_COLLISION_MARK = "+"
"""Separates, in the version of a batch, its marks from its collisions."""

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


def report_rescrub_requests(
    instance: dg.DagsterInstance, installation: Installation, *, waits_for_batches: bool = True
) -> list[dg.AssetMaterialization]:
    """An event for each batch with other marks or new collisions; most batches never have one. Raises LedgerError.

    The end of a collision gives no event: the scrub that ended it would be repeated. `waits_for_batches`: report no collision
    while a batch is still to be read or scrubbed. Its real values may collide too, and each batch must be scrubbed
    again only once.
    """
    marks, collisions = marks_by_batch(installation), collisions_by_batch(installation)
    known = batch_versions(instance, asset_key("rescrub_requests"))
    if not (marks or collisions or known):
        return []
    if collisions and waits_for_batches and has_unscrubbed_batches(instance):
        collisions = {}
    requested = set(list_requested_batches(instance)) if collisions else set()
    batches = {*marks, *collisions, *known} & set(instance.get_dynamic_partitions(str(BATCHES.name)))
    events = []
    for batch in sorted(batches):
        base, reported = combine(marks.get(batch, ())), known.get(batch, combine(()))
        is_same = reported.partition(_COLLISION_MARK)[0] == base
        if batch in collisions and not (is_same and batch in requested):
            version = f"{base}{_COLLISION_MARK}{_fingerprint_collisions(installation, batch, collisions[batch])}"
            is_same = reported == version
        else:
            version = base
        if not is_same:
            events.append(batch_event(asset_key("rescrub_requests"), batch, version))
    return events


def _fingerprint_collisions(installation: Installation, batch: str, hashes: list[str]) -> str:
    """With the state of the other batches' values: the same collision may return after one of them was away."""
    others = [path for path in installation.stored("identifier_values").files() if path.stem != batch]
    return combine([*hashes, "", *map(fingerprint_listing, others)])


def has_unscrubbed_batches(instance: dg.DagsterInstance) -> bool:
    """Whether a batch is still to be read or scrubbed. A batch for which that failed does not count."""
    steps = (("reports", "raw_reports"), ("scrubbed_reports", "reports"))
    return any(list_changed_batches(instance, asset_key(name), asset_key(read)) for name, read in steps)


def list_requested_batches(instance: dg.DagsterInstance) -> list[str]:
    """The scrubbed batches with a request that came after their last scrub, except those whose scrub failed since."""
    scrubbed = batch_versions(instance, asset_key("scrubbed_reports"))
    requested = list_changed_batches(instance, asset_key("scrubbed_reports"), asset_key("rescrub_requests"))
    return [batch for batch in requested if batch in scrubbed]


def collisions_by_batch(installation: Installation) -> dict[str, list[str]]:
    """Batch → keyed hashes of its invented values that are real values in another batch."""
    folder = installation.stored("identifier_values").folder
    return _cached_collisions(folder, fingerprint_listing(folder)) if folder.is_dir() else {}


@lru_cache(maxsize=1)
def _cached_collisions(folder: Path, _listed: str) -> dict[str, list[str]]:
    """Cached until a table changes, since every sensor tick needs it."""
    return find_surrogate_collisions(folder)

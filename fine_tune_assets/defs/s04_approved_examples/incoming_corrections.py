"""Stage 4: users' corrections as they come back from stage 10. The external asset is the only way back in the graph."""

import dagster as dg
import pyarrow as pa

from fine_tune_assets.core.fingerprints import combine
from fine_tune_assets.defs.platform.automation import DATA_VERSION, INPUT_VERSION, latest_events
from fine_tune_assets.defs.platform.metadata import OWNERS, column_schema
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.tables.stored_tables import drop_subjects

SCRUBBED, QUARANTINED = "scrubbed_corrections", "quarantined_corrections"

incoming_corrections = dg.AssetSpec(
    "incoming_corrections",
    group_name="s04_approved_examples",
    description=f"Users' corrections with their quarantine state, from stage 10. Readers read `{SCRUBBED}` and `{QUARANTINED}`.",
    owners=OWNERS["clinical"],
    kinds={"parquet"},
    metadata={"dagster/column_schema": column_schema(SCRUBBED)},
)


def read_corrections(installation: Installation) -> pa.Table:
    """The scrubbed corrections, except of erased subjects."""
    stored = installation.stored(SCRUBBED).table()
    return drop_subjects(stored, installation.erased_subjects())


def report_incoming_corrections(instance: dg.DagsterInstance) -> list[dg.AssetMaterialization]:
    """An event if the corrections changed and the quarantine examined exactly these."""
    scrubbed, quarantined, reported = latest_events(
        instance, [dg.AssetKey(SCRUBBED), dg.AssetKey(QUARANTINED), incoming_corrections.key]
    ).values()
    if scrubbed is None or quarantined is None or scrubbed.version != quarantined.tags.get(INPUT_VERSION + SCRUBBED):
        return []
    version = combine([str(scrubbed.version), str(quarantined.version)])
    if reported is not None and reported.version == version:
        return []
    return [dg.AssetMaterialization(incoming_corrections.key, tags={DATA_VERSION: version})]

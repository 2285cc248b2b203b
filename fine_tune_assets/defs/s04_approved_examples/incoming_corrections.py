"""Stage 4: users' corrections as they come back from stage 10. The external asset is the only way back in the graph."""

from contextlib import suppress

import dagster as dg
import pyarrow as pa

from fine_tune_assets.core.errors import GateClosedError, materialize_hint
from fine_tune_assets.core.fingerprints import combine
from fine_tune_assets.defs.platform.asset_keys import asset_key
from fine_tune_assets.defs.platform.automation import DATA_VERSION, consumed_input_tag, latest_events
from fine_tune_assets.defs.platform.metadata import OWNERS, column_schema
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.tables.stored_tables import drop_subjects

SCRUBBED, QUARANTINED, RECALL = "scrubbed_corrections", "quarantined_corrections", "scrub_recall"

incoming_corrections = dg.AssetSpec(
    "incoming_corrections",
    group_name="s04_approved_examples",
    description=f"Users' corrections with their quarantine state, from stage 10. Readers read `{SCRUBBED}` and `{QUARANTINED}`.",
    owners=OWNERS["clinical"],
    kinds={"parquet"},
    metadata={"dagster/column_schema": column_schema(SCRUBBED)},
)


def read_corrections(installation: Installation) -> pa.Table:
    """The scrubbed corrections, except of erased subjects. Raises GateClosedError as `require_current_scrubber`."""
    stored = installation.stored(SCRUBBED).table()
    if stored.num_rows:
        require_current_scrubber()
    return drop_subjects(stored, installation.erased_subjects())


def require_current_scrubber() -> None:
    """Raise GateClosedError within a step if the corrections were scrubbed by another scrubber than the one measured last."""
    with suppress(dg.DagsterInvariantViolationError):  # outside a step
        instance = dg.AssetExecutionContext.get().instance
        scrubbed, recall = latest_events(instance, [asset_key(SCRUBBED), asset_key(RECALL)]).values()
        if scrubbed and recall and scrubbed.tags.get(consumed_input_tag(RECALL)) != recall.version:
            raise GateClosedError(
                "The corrections were scrubbed by another version of the scrubber. "
                f"{materialize_hint(SCRUBBED, QUARANTINED)} The daemon does this automatically."
            )


def report_incoming_corrections(instance: dg.DagsterInstance) -> list[dg.AssetMaterialization]:
    """An event if the corrections changed and the quarantine examined exactly these."""
    scrubbed, quarantined, reported = latest_events(
        instance, [asset_key(SCRUBBED), asset_key(QUARANTINED), asset_key("incoming_corrections")]
    ).values()
    if (
        scrubbed is None
        or quarantined is None
        or scrubbed.version != quarantined.tags.get(consumed_input_tag(SCRUBBED))
    ):
        return []
    # With the scrubber's version: an asset that refused corrections of the previous scrubber runs again, even if no text changed.
    scrubber = scrubbed.tags.get(consumed_input_tag(RECALL), "")
    version = combine([str(scrubbed.version), str(quarantined.version), scrubber])
    if reported is not None and reported.version == version:
        return []
    return [dg.AssetMaterialization(asset_key("incoming_corrections"), tags={DATA_VERSION: version})]

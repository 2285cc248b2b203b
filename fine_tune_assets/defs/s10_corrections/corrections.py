"""Stage 10: users' corrections, scrubbed, on their way back to stage 4.

Belongs here: the corrections in the ledger as an external asset, and scrubbing them. Must stay out: who may send them.
"""

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq

from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.fingerprints import fingerprint_table
from fine_tune_assets.corrections.collection import raw_corrections_table
from fine_tune_assets.corrections.edits import with_edit_fractions
from fine_tune_assets.defs.platform.automation import on_new_inputs
from fine_tune_assets.defs.platform.metadata import OWNERS, definition_metadata, result
from fine_tune_assets.defs.platform.resources import Installation, Worker, errors_for_people
from fine_tune_assets.defs.s02_scrubbed_reports.scrubbed_reports import require_measured_scrubber, scrub_request
from fine_tune_assets.ledger.reviews.corrections import list_corrections

GROUP = "s10_corrections"

corrections = dg.AssetSpec(
    "corrections",
    group_name=GROUP,
    description="Better answers that users sent through the gateway. Kept encrypted in the ledger.",
    owners=OWNERS["clinical"],
    kinds={"sqlite"},
    tags={"phi": "yes"},
)


@dg.asset(
    group_name=GROUP,
    code_version="2",  # the model's answer, and what the user says of the error
    deps=["identifier_values", corrections],
    # Each new batch would scrub every correction again.
    automation_condition=on_new_inputs(untriggered=["identifier_values"]),
    description="The corrections without identifiers. They become drafts that somebody else than their author must approve.",
    owners=OWNERS["clinical"],
    kinds={"parquet"},
    metadata=definition_metadata("scrubbed_corrections"),
)
def scrubbed_corrections(
    context: dg.AssetExecutionContext, installation: Installation, worker: Worker, scrub_recall: pa.Table
) -> dg.MaterializeResult[pa.Table]:
    with errors_for_people(), installation.ledger() as ledger:
        require_measured_scrubber(installation, scrub_recall)
        raw = raw_corrections_table(list_corrections(ledger, installation.corrections_key), installation.patient_secret)
    if raw.num_rows == 0:
        return result("scrubbed_corrections", raw, fingerprint_table(raw))
    with installation.scratch(context, "corrections", "scrubbed") as (source, output):
        write_table(source, raw)
        request = {
            "action": "scrub_corrections",
            "corrections": str(source),
            "output": str(output),
            **scrub_request(installation, None),
        }
        counts = worker.run(context, "phi", request)
        table = with_edit_fractions(pq.read_table(output))
    return result("scrubbed_corrections", table, fingerprint_table(table), held_back=counts["held"])

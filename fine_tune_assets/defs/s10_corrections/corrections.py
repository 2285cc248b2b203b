"""Stage 10: scrubs users' corrections for drafting in stage 4 (see `corrections/correction_table.py` for the full path)."""

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq

from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.fingerprints import fingerprint_table
from fine_tune_assets.core.processes.worker_requests import ScrubCorrectionsRequest
from fine_tune_assets.corrections.correction_table import list_withheld_corrections, raw_corrections_table
from fine_tune_assets.corrections.edit_distance import add_edit_fractions
from fine_tune_assets.defs.platform.automation import on_new_inputs
from fine_tune_assets.defs.platform.metadata import OWNERS, definition_metadata, grows_old, table_result
from fine_tune_assets.defs.platform.resources import Installation, Worker, user_facing_errors
from fine_tune_assets.defs.s02_scrubbed_reports.scrubbed_reports import require_measured_scrubber, scrub_request
from fine_tune_assets.ledger.reviews.correction_records import list_corrections
from fine_tune_assets.tables.correction_rows import WithheldCorrection

GROUP = "s10_corrections"

corrections = dg.AssetSpec(
    "corrections",
    group_name=GROUP,
    description="Better answers that users sent through the gateway. Stored encrypted in the ledger.",
    owners=OWNERS["clinical"],
    kinds={"sqlite"},
    tags={"phi": "yes"},
    freshness_policy=grows_old(warn_days=30, fail_days=180),
)


@dg.asset(
    group_name=GROUP,
    code_version="3",  # adds why a correction is withheld
    deps=["scrubbed_reports", corrections],
    # Ignored, since each new batch would scrub every correction again.
    automation_condition=on_new_inputs(ignored=["scrubbed_reports"]),
    description="The corrections without identifiers. They become drafts, which a person other than the author must approve.",
    owners=OWNERS["clinical"],
    kinds={"parquet"},
    metadata=definition_metadata("scrubbed_corrections"),
)
def scrubbed_corrections(
    context: dg.AssetExecutionContext, installation: Installation, worker: Worker, scrub_recall: pa.Table
) -> dg.MaterializeResult[pa.Table]:
    with user_facing_errors(), installation.ledger() as ledger:
        require_measured_scrubber(installation, scrub_recall)
        raw = raw_corrections_table(list_corrections(ledger, ledger.key), installation.subject_secret)
    withheld = installation.stored("withheld_corrections")
    if raw.num_rows == 0:
        withheld.write(WithheldCorrection.SCHEMA.empty_table())
        return table_result("scrubbed_corrections", raw, fingerprint_table(raw))
    with installation.scratch(context, "corrections", "scrubbed") as (source, output):
        write_table(source, raw)
        request: ScrubCorrectionsRequest = {
            "action": "scrub_corrections",
            "corrections": str(source),
            "output": str(output),
            **scrub_request(installation, None),
        }
        counts = worker.run(context, "phi", request)
        table = add_edit_fractions(pq.read_table(output))
    withheld.write(list_withheld_corrections(raw, table, counts["without_scrubbing"], counts["scrubber_version"]))
    return table_result("scrubbed_corrections", table, fingerprint_table(table), withheld=counts["withheld"])

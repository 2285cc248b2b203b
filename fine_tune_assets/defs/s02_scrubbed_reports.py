"""Stage 2: identifiers out.

Belongs here: measuring the scrubber and scrubbing a batch. Must stay out: what counts as an identifier (see `phi/`).
"""

from collections.abc import Iterator
from dataclasses import asdict

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.fingerprints import fingerprint_table
from fine_tune_assets.defs.automation import on_new_batches, on_new_inputs
from fine_tune_assets.defs.metadata import OWNERS, definition_metadata, result, table_out
from fine_tune_assets.defs.resources import Installation, Worker, errors_for_people
from fine_tune_assets.defs.s01_raw_reports import BATCHES
from fine_tune_assets.defs.sources import recipe_section
from fine_tune_assets.phi.scrubbing import scrubber_version

GROUP = "s02_scrubbed_reports"

labelled_reports = dg.AssetSpec(
    "labelled_reports",
    group_name=GROUP,
    description="Texts in which people marked every identifier (`data/evaluation/phi`). They measure the scrubber.",
    owners=OWNERS["clinical"],
    kinds={"json"},
)


@dg.asset(
    group_name=GROUP,
    deps=[labelled_reports, recipe_section("scrub")],
    automation_condition=on_new_inputs(),
    description="How many of the identifiers in the labelled texts the scrubber removes whole, by kind.",
    owners=OWNERS["clinical"],
    kinds={"parquet"},
    metadata=definition_metadata("scrub_recall"),
)
def scrub_recall(
    context: dg.AssetExecutionContext, installation: Installation, worker: Worker
) -> dg.MaterializeResult[pa.Table]:
    gold = sorted((installation.layout.evaluation / "phi").glob("*.jsonl"))
    output = installation.scratch(context, "scrub_recall")
    request = {
        "action": "measure_recall",
        "gold": [str(p) for p in gold],
        "output": str(output),
        "settings": asdict(installation.recipe.scrub),
    }
    measured = worker.run(context, "phi", request)
    table = pq.read_table(output)
    output.unlink()
    return result("scrub_recall", table, fingerprint_table(table), recall=measured["recall"])


def overall_recall(table: pa.Table, version: str) -> float | None:
    """The lowest recall over all kinds on any labelled set, or None when this scrubber was not measured."""
    found = [r["recall"] for r in table.to_pylist() if r["label"] == "all" and r["scrubber_version"] == version]
    return min(found) if found else None


@dg.asset_check(
    asset="scrub_recall",
    blocking=True,
    description="The scrubber removes at least the share of labelled identifiers that the recipe demands.",
)
def scrub_recall_meets_floor(installation: Installation, scrub_recall: pa.Table) -> dg.AssetCheckResult:
    settings = installation.recipe.scrub
    recall = overall_recall(scrub_recall, scrubber_version(settings))
    return dg.AssetCheckResult(
        passed=recall is not None and recall >= settings.recall_floor,
        metadata={"floor": settings.recall_floor, **({} if recall is None else {"recall": recall})},
    )


@dg.multi_asset(
    outs={
        "scrubbed_reports": table_out(
            "scrubbed_reports",
            group=GROUP,
            description="The reports with every identifier that was found replaced by its kind, such as [NAME].",
            owners=OWNERS["clinical"],
            condition=on_new_batches(),
        ),
        "phi_spans": table_out(
            "phi_spans",
            group=GROUP,
            description="Where each identifier stood, of which kind it is and which rule found it; never the value.",
            owners=OWNERS["clinical"],
            condition=on_new_batches(),
        ),
    },
    partitions_def=BATCHES,
    name="scrub_reports",
)
def scrub_reports(
    context: dg.AssetExecutionContext,
    installation: Installation,
    worker: Worker,
    reports: pa.Table,
    scrub_recall: pa.Table,
) -> Iterator[dg.MaterializeResult[pa.Table]]:
    with errors_for_people():
        require_measured_scrubber(installation, scrub_recall)
    raw, scrubbed, spans = (installation.scratch(context, name) for name in ("reports", "scrubbed", "spans"))
    write_table(raw, reports)
    try:
        request = {
            "action": "scrub",
            "reports": str(raw),
            "scrubbed": str(scrubbed),
            "spans": str(spans),
            "settings": asdict(installation.recipe.scrub),
        }
        counts = worker.run(context, "phi", request)
        tables = pq.read_table(scrubbed), pq.read_table(spans)
    finally:
        for path in (raw, scrubbed, spans):
            path.unlink(missing_ok=True)
    yield result("scrubbed_reports", tables[0], fingerprint_table(tables[0]), identifiers_removed=counts["spans"])
    yield result(
        "phi_spans", tables[1], fingerprint_table(tables[1]), by_kind=dg.MetadataValue.json(counts["by_label"])
    )


def require_measured_scrubber(installation: Installation, scrub_recall: pa.Table) -> None:
    """The gate itself: also when this step is launched by hand, in a run without the check."""
    settings = installation.recipe.scrub
    recall = overall_recall(scrub_recall, scrubber_version(settings))
    if recall is None:
        raise GateClosedError("This version of the scrubber was not measured. Materialize scrub_recall first.")
    if recall < settings.recall_floor:
        raise GateClosedError(
            f"The scrubber removes {recall:.3f} of the labelled identifiers, the recipe demands {settings.recall_floor}."
        )

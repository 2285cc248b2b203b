"""The tables between a correction and its approval."""

from typing import Any

import dagster as dg
import pyarrow as pa

from fine_tune_assets.core.files import write_table
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.defs.s04_approved_examples.approved_examples import approved_examples, drafted_examples
from fine_tune_assets.defs.s10_corrections.quarantine import quarantined_corrections
from fine_tune_assets.tables.approval_rows import ModelDraft
from fine_tune_assets.tables.dedup_rows import DuplicateReport, UniqueReport
from fine_tune_assets.tables.record_classes import table_from_rows


def quarantined(table: pa.Table) -> dg.MaterializeResult[pa.Table]:
    return quarantined_corrections(installation=Installation(), scrubbed_corrections=table)  # type: ignore[return-value]


def drafted(table: pa.Table) -> list[dict[str, Any]]:
    write_table(Installation().layout.table("scrubbed_corrections"), table)
    write_table(Installation().layout.table("quarantined_corrections"), quarantined(table).value)
    made = drafted_examples(
        installation=Installation(),
        unique_reports=UniqueReport.SCHEMA.empty_table(),
        duplicate_reports=DuplicateReport.SCHEMA.empty_table(),
        model_drafts=ModelDraft.SCHEMA.empty_table(),
    )
    return list(made.value.to_pylist())  # type: ignore[attr-defined]


def approved(drafts: list[dict[str, Any]], table: pa.Table) -> Any:
    from fine_tune_assets.tables.approval_rows import DraftedExample

    of_drafts = table_from_rows(drafts, DraftedExample.SCHEMA)
    write_table(Installation().layout.table("scrubbed_corrections"), table)
    return approved_examples(installation=Installation(), drafted_examples=of_drafts)

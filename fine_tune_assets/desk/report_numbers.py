"""Finds the numbers that pages show instead of report ids, for many reports at once."""

from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress

import pyarrow as pa

from fine_tune_assets.core.fingerprints import short
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.tables.stored_tables import read_rows


def find_report_numbers(layout: Layout, report_ids: Iterable[str]) -> dict[str, str]:
    """Report id → number, in one read for each batch. Corrections and erased reports have none."""
    by_batch: dict[str, set[str]] = defaultdict(set)
    for report_id in report_ids:
        by_batch[report_id.partition("/")[0]].add(report_id)
    found: dict[str, str] = {}
    for batch, wanted in by_batch.items():
        path = layout.table("scrubbed_reports", batch)
        with suppress(OSError, pa.ArrowInvalid):  # missing, replaced while it was read, or damaged
            rows = read_rows(path, "scrubbed_reports", "report_id", wanted, ["report_id", "fingerprint"])
            found |= {row["report_id"]: short(row["fingerprint"]) for row in rows}
    return found

"""Stage 4, what it still asks of the reports that stage 3 dropped.

Belongs here: reading their scrubbed texts in place. Must stay out: what they say about a draft (see `approval/`).

No dependency of its own: `duplicate_reports` holds the fingerprint of each text that is read here, so what changes a text
changes that table first.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pyarrow as pa

from fine_tune_assets.approval.dropped_reports import DroppedReports
from fine_tune_assets.approval.task_kinds import Unused
from fine_tune_assets.core.stored_rows import read_rows
from fine_tune_assets.defs.metadata import markdown_table
from fine_tune_assets.defs.resources import Installation

_COLUMNS = ("report_id", "source", "patient_key", "text", "tagged_text", "fingerprint")
_SHOWN = 20


def dropped_reports(installation: Installation, duplicates: pa.Table) -> DroppedReports:
    """Without those of erased patients."""
    erased = installation.erased_patients()

    def read(report_ids: Collection[str]) -> Sequence[Mapping[str, Any]]:
        by_batch: dict[str, list[str]] = defaultdict(list)
        for report_id in report_ids:
            by_batch[report_id.partition("/")[0]].append(report_id)
        found: list[dict[str, Any]] = []
        for batch, ids in sorted(by_batch.items()):
            path = installation.layout.table("scrubbed_reports", batch)
            if path.is_file():
                found += read_rows(path, "scrubbed_reports", "report_id", ids, _COLUMNS)
        return [row for row in found if row["patient_key"] not in erased]

    return DroppedReports(duplicates, read)


def partners_dropped(unused: Unused, duplicates: pa.Table) -> list[dict[str, str]]:
    """Of the reports that are alone those whose other half was dropped, and which report stays in its place. Ids only."""
    kept = dict(zip(*(duplicates[name].to_pylist() for name in ("dropped_id", "kept_id")), strict=True))
    return [
        {"report": report_id, "its other half, dropped": half, "kept instead": kept[half]}
        for report_id, half in unused.alone
        if half in kept
    ]


def partners_table(rows: Sequence[dict[str, str]]) -> str:
    """The first ones."""
    return markdown_table(list(rows[:_SHOWN]))

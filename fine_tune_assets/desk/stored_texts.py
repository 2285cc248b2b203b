"""Reads the texts that pages show: a draft, its correction and its report.

Rows are found by id through Parquet row-group statistics, without reading the whole table. Nothing is cached, so that a new table
takes effect at once. Methods raise OutdatedTableError if a table of an older version lacks a column.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import pyarrow as pa

from fine_tune_assets.approval.drafts import CORRECTION
from fine_tune_assets.core.fingerprints import short
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.tables.approval_rows import DraftedExample
from fine_tune_assets.tables.correction_rows import ScrubbedCorrection
from fine_tune_assets.tables.record_classes import Record
from fine_tune_assets.tables.stored_tables import read_rows

RecordT = TypeVar("RecordT", bound=Record)


@dataclass(frozen=True)
class StoredReport:
    subject_key: str
    text: str
    """With surrogates, as in the inputs of drafts."""
    tagged_text: str
    """With `[KIND]` placeholders, as on the pages."""
    fingerprint: str

    @property
    def number(self) -> str:
        """The start of the fingerprint, which pages show instead of the report id.

        A report id often contains a file name, and file names can contain a subject's name.
        """
        return short(self.fingerprint)


@dataclass(frozen=True)
class StoredTexts:
    layout: Layout

    def find_draft(self, example_id: str) -> DraftedExample | None:
        """None if the example is no longer drafted."""
        row = self._read_row("drafted_examples", None, ("example_id", example_id))
        return None if row is None else DraftedExample.from_row(row)

    def find_drafts(self, example_ids: Collection[str], kind: type[RecordT]) -> dict[str, RecordT]:
        """Example id → the columns of `kind`, for the examples that are still drafted; in one read of these columns."""
        path = self.layout.table("drafted_examples")
        if not example_ids or not path.is_file():
            return {}
        try:
            rows = read_rows(path, "drafted_examples", "example_id", example_ids, kind.SCHEMA.names)
        except (OSError, pa.ArrowInvalid):
            return {}  # the file was replaced while it was read
        return {row["example_id"]: kind.from_row(row) for row in rows}

    def find_correction(self, draft: DraftedExample) -> ScrubbedCorrection | None:
        """The correction behind the draft; None for a draft of a report, or if the correction was removed."""
        if draft.source != CORRECTION:
            return None
        correction_id = draft.report_id.removeprefix(f"{CORRECTION}/")
        row = self._read_row("scrubbed_corrections", None, ("correction_id", correction_id))
        return None if row is None else ScrubbedCorrection.from_row(row)

    def find_report(self, report_id: str) -> StoredReport | None:
        """None for a correction or an erased report."""
        columns = list(StoredReport.__dataclass_fields__)
        row = self._read_row("scrubbed_reports", report_id.partition("/")[0], ("report_id", report_id), columns)
        return None if row is None else StoredReport(**{name: str(row[name]) for name in columns})

    def find_report_numbers(self, report_ids: Iterable[str]) -> dict[str, str]:
        """Report id → `StoredReport.number`, in one read for each batch. Corrections and erased reports have none."""
        by_batch: dict[str, set[str]] = defaultdict(set)
        for report_id in report_ids:
            by_batch[report_id.partition("/")[0]].add(report_id)
        found: dict[str, str] = {}
        for batch, wanted in by_batch.items():
            path = self.layout.table("scrubbed_reports", batch)
            with suppress(OSError, pa.ArrowInvalid):  # missing, replaced while it was read, or damaged
                rows = read_rows(path, "scrubbed_reports", "report_id", wanted, ["report_id", "fingerprint"])
                found |= {row["report_id"]: short(row["fingerprint"]) for row in rows}
        return found

    def find_dropped_duplicates(self, report_id: str) -> dict[str, str]:
        """Fingerprint of the scrubbed text → report id, for the near and semantic duplicates of this report."""
        path = self.layout.table("duplicate_reports")
        columns = ["dropped_id", "kind", "fingerprint"]
        rows = read_rows(path, "duplicate_reports", "kept_id", [report_id], columns) if path.is_file() else []
        return {row["fingerprint"]: row["dropped_id"] for row in rows if row["fingerprint"] and row["kind"] != "exact"}

    def _read_row(
        self, table: str, partition: str | None, key: tuple[str, str], columns: list[str] | None = None
    ) -> dict[str, Any] | None:
        path = self.layout.table(table, partition)
        # The id comes from a URL: reject paths outside the tables folder.
        if not path.is_file() or path.parent.parent != self.layout.tables:
            return None
        try:
            found = read_rows(path, table, key[0], [key[1]], columns)
        except (OSError, pa.ArrowInvalid):
            return None  # the file was replaced while it was read
        return next(iter(found), None)

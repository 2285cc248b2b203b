"""Describes each batch that was read, and lists its unreadable files and withheld reports. `lineage/account.py` counts them.

Returns counts, reasons, kinds, sources, file names and report ids; never report text, and only the year of a report's date.
"""

import threading
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.fingerprints import fingerprint_listing
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.reports.batches import (
    BatchFolderError,
    StrayEntries,
    find_stray_entries,
    list_batches,
    list_files,
)
from fine_tune_assets.tables.duckdb_connection import open_cursor
from fine_tune_assets.tables.stored_tables import read_rows, read_rows_if_present

_TABLES = ("reports", "report_languages", "withheld_reports")


def count_unread_files(layout: Layout) -> dict[str, int]:
    """Batch folder that was never read → files in it that are to be read. Raises OSError."""
    unread = [name for name in list_batches(layout.raw_reports) if not layout.table("reports", name).is_file()]
    return {name: _count_files(layout.raw_reports / name) for name in unread}


def _count_files(folder: Path) -> int:
    """At least 1: a folder that is empty or can't be listed is left out too."""
    try:
        return max(1, len(list_files(folder).readable))
    except BatchFolderError:
        return 1


class IntakeError(FineTuneError):
    """The tables can't be read at the moment."""


@dataclass(frozen=True)
class BatchSummary:
    name: str
    sources: tuple[str, ...]
    is_scrubbed: bool
    read_at: datetime
    other_languages: Mapping[str, int] = field(default_factory=dict)
    """Language → reports, without English."""


@dataclass(frozen=True)
class SourceYear:
    source: str
    year: int | None
    """Stated by the reports."""
    reports: int


@dataclass(frozen=True)
class IntakeSummary:
    batches: tuple[BatchSummary, ...]
    """Most recently read first."""
    by_source: tuple[SourceYear, ...]


@dataclass(frozen=True)
class UnreadableRecord:
    """A file or record that could not be read."""

    origin_file: str
    record: int | None
    reason: str
    detail: str
    size_bytes: int | None


@dataclass(frozen=True)
class WithheldFile:
    """A report that the scrubber withheld."""

    report_id: str
    origin_file: str
    kind_counts: tuple[tuple[str, int], ...]
    """Kind of residual PHI → number, sorted."""


class IntakeSummaryCache:
    """Reads the tables again only after one of them changed. Thread-safe."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._lock = threading.Lock()
        self._cached: tuple[tuple[str, ...], IntakeSummary] | None = None

    def latest(self) -> IntakeSummary:
        """Raises IntakeError."""
        current = tuple(fingerprint_listing(f) if (f := self._folder(name)).is_dir() else "" for name in _TABLES)
        with self._lock:
            if self._cached is None or self._cached[0] != current:
                self._cached = (current, self._describe())
            return self._cached[1]

    def list_unread_batches(self) -> list[str]:
        """Return the batch folders that have not been read yet."""
        table = self._layout.table
        return [name for name in list_batches(self._layout.raw_reports) if not table("reports", name).is_file()]

    def find_stray_entries(self) -> StrayEntries:
        """Return the entries that are not batches."""
        return find_stray_entries(self._layout.raw_reports)

    def list_unreadable(self, batch: str) -> list[UnreadableRecord]:
        """Sorted by file and record. Raises IntakeError."""
        path = self._layout.table("unreadable_reports", batch)
        columns = list(UnreadableRecord.__dataclass_fields__)
        try:
            rows = pq.read_table(path, columns=columns, partitioning=None).to_pylist() if path.is_file() else []
        except OSError:
            raise _busy_error() from None
        return sorted((UnreadableRecord(**row) for row in rows), key=lambda row: (row.origin_file, row.record or 0))

    def list_withheld(self, batch: str) -> list[WithheldFile]:
        """Sorted by file and report; empty before scrubbing. Raises IntakeError."""
        try:
            rows = read_rows_if_present(self._layout.table("withheld_reports", batch), ["report_id", "kind", "count"])
            ids = {row["report_id"] for row in rows}
            path, columns = self._layout.table("reports", batch), ["report_id", "origin_file"]
            origins = read_rows(path, "reports", "report_id", ids, columns) if ids and path.is_file() else []
        except (OSError, pa.ArrowInvalid):
            raise _busy_error() from None
        known = {origin["report_id"]: origin["origin_file"] for origin in origins}
        counts: dict[str, list[tuple[str, int]]] = defaultdict(list)
        for row in rows:
            counts[row["report_id"]].append((row["kind"], row["count"]))
        files = [
            WithheldFile(report_id, known.get(report_id, ""), tuple(sorted(kinds)))
            for report_id, kinds in counts.items()
        ]
        return sorted(files, key=lambda file: (file.origin_file, file.report_id))

    def _folder(self, table: str) -> Path:
        return self._layout.tables / table

    def _describe(self) -> IntakeSummary:
        try:
            years = [SourceYear(*row) for row in self._query_rows("reports", "source, year(written_on), count(*)")]
            batches = self._batches()
        except (OSError, duckdb.Error):
            # Drop the cause: its message may quote a value.
            raise _busy_error() from None
        return IntakeSummary(
            tuple(sorted(batches, key=lambda batch: (batch.read_at, batch.name), reverse=True)),
            tuple(sorted(years, key=lambda row: (row.source, -(row.year or 0)))),
        )

    def _batches(self) -> list[BatchSummary]:
        sources = dict(self._query_rows("reports", "batch, list(distinct source order by source)"))
        languages: dict[str, dict[str, int]] = defaultdict(dict)
        for batch, language, number in self._query_rows("report_languages", "batch, language, sum(reports)::int"):
            languages[batch][language] = number
        scrubbed = self._read_times("withheld_reports")  # the scrubber writes this file for each batch
        return [
            BatchSummary(name, tuple(sources.get(name, ())), name in scrubbed, at, languages[name])
            for name, at in self._read_times("reports").items()
        ]

    def _query_rows(self, table: str, what: str) -> list[Any]:
        """Return a tuple of the selected values for each group."""
        paths = [str(path) for path in sorted(self._folder(table).glob("[!.]*.parquet"))]
        if not paths:
            return []
        with open_cursor() as cursor:
            query = f"select {what} from read_parquet(?, union_by_name = true, hive_partitioning = false) group by all"
            return cursor.execute(query, [paths]).fetchall()

    def _read_times(self, table: str) -> dict[str, datetime]:
        """Return when each batch of a table was written."""
        files = self._folder(table).glob("[!.]*.parquet")
        return {path.stem: datetime.fromtimestamp(path.stat().st_mtime, UTC) for path in files}


def _busy_error() -> IntakeError:
    return IntakeError("The report tables are being written. Try again in a moment.")

"""What arrived: batches as they were last read, in figures, and which files of one batch could not be read.

Owns the counting, over tables in place. Gives away counts, reasons, sources and names of files; never text, and of the day
on which a report was written only its year.
"""

import threading
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.fingerprints import fingerprint_listing
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.reports.batches import NotBatches, list_batches, list_not_batches
from fine_tune_assets.tables.duck import cursor

_TABLES = ("reports", "unreadable_reports", "held_reports")
_READ = "batch, source, year(written_on) as year, count(*) as number"
_REFUSED = "batch, reason, count(*) as number"
_HELD = "batch, count(distinct report_id) as number"


class ArrivalsError(FineTuneError):
    """The tables can't be read now."""


@dataclass(frozen=True)
class Batch:
    name: str
    sources: tuple[str, ...]
    reports: int
    refused: int
    """Files and records that could not be read."""
    held_back: int | None
    """Reports in which the second pass of the scrubber still found something; None before they were scrubbed."""
    read_at: datetime


@dataclass(frozen=True)
class SourceYear:
    source: str
    year: int | None
    """In which the reports say that they were written."""
    reports: int


@dataclass(frozen=True)
class Arrivals:
    batches: tuple[Batch, ...]
    """The one that was read last comes first."""
    by_source: tuple[SourceYear, ...]
    by_reason: tuple[tuple[str, int], ...]

    @property
    def reports(self) -> int:
        return sum(batch.reports for batch in self.batches)

    @property
    def refused(self) -> int:
        return sum(batch.refused for batch in self.batches)

    @property
    def held_back(self) -> int | None:
        """Of the batches that were scrubbed; None if none was."""
        known = [batch.held_back for batch in self.batches if batch.held_back is not None]
        return sum(known) if known else None


@dataclass(frozen=True)
class Refused:
    """One file or record that could not be read."""

    origin_file: str
    record: int | None
    reason: str
    detail: str
    size_bytes: int | None


class ArrivalFigures:
    """Counted again only when a table changed. Safe to share between threads."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._lock = threading.Lock()
        self._known: tuple[tuple[str, ...], Arrivals] | None = None

    def latest(self) -> Arrivals:
        """Raises ArrivalsError."""
        seen = tuple(fingerprint_listing(f) if (f := self._folder(name)).is_dir() else "" for name in _TABLES)
        with self._lock:
            if self._known is None or self._known[0] != seen:
                self._known = (seen, self._count())
            return self._known[1]

    def waiting(self) -> list[str]:
        """Batch folders that were not read yet."""
        table = self._layout.table
        return [name for name in list_batches(self._layout.raw_reports) if not table("reports", name).is_file()]

    def beside(self) -> NotBatches:
        """What lies there and is no batch."""
        return list_not_batches(self._layout.raw_reports)

    def refused(self, batch: str) -> list[Refused]:
        """By file and record. Raises ArrivalsError."""
        path = self._layout.table("unreadable_reports", batch)
        columns = list(Refused.__dataclass_fields__)
        try:
            rows = pq.read_table(path, columns=columns, partitioning=None).to_pylist() if path.is_file() else []
        except OSError:
            raise _being_written() from None
        return sorted((Refused(**row) for row in rows), key=lambda row: (row.origin_file, row.record or 0))

    def _folder(self, table: str) -> Path:
        return self._layout.tables / table

    def _count(self) -> Arrivals:
        try:
            read, refused, held = (
                self._rows(name, what) for name, what in zip(_TABLES, (_READ, _REFUSED, _HELD), strict=True)
            )
            return _arrivals(read, refused, held, self._times("reports"), set(self._times("held_reports")))
        except (OSError, duckdb.Error):
            # Without its cause, which may quote a value.
            raise _being_written() from None

    def _rows(self, table: str, what: str) -> list[dict[str, Any]]:
        paths = [str(path) for path in sorted(self._folder(table).glob("[!.]*.parquet"))]
        if not paths:
            return []
        with cursor() as asking:
            query = f"select {what} from read_parquet(?, union_by_name = true, hive_partitioning = false) group by all"
            found: Any = asking.sql(query, params=[paths]).to_arrow_table()
            return list(found.to_pylist())

    def _times(self, table: str) -> dict[str, datetime]:
        """When each batch of a table was written."""
        files = self._folder(table).glob("[!.]*.parquet")
        return {path.stem: datetime.fromtimestamp(path.stat().st_mtime, UTC) for path in files}


def _being_written() -> ArrivalsError:
    return ArrivalsError("The tables of reports are being written. Ask again in a moment.")


def _arrivals(
    read: Sequence[dict[str, Any]],
    refused: Sequence[dict[str, Any]],
    held: Sequence[dict[str, Any]],
    read_at: Mapping[str, datetime],
    scrubbed: Collection[str],
) -> Arrivals:
    reports, refusals = _by(read, "batch"), _by(refused, "batch")
    held_back, by_source = _by(held, "batch"), _by(read, "source", "year")
    sources: dict[str, set[str]] = {}
    for row in read:
        sources.setdefault(row["batch"], set()).add(row["source"])
    batches = [
        Batch(
            name,
            tuple(sorted(sources.get(name, ()))),
            reports[name],
            refusals[name],
            held_back[name] if name in scrubbed else None,
            at,
        )
        for name, at in read_at.items()
    ]
    rows = [SourceYear(source, year, number) for (source, year), number in by_source.items()]
    return Arrivals(
        tuple(sorted(batches, key=lambda batch: (batch.read_at, batch.name), reverse=True)),
        tuple(sorted(rows, key=lambda row: (row.source, -(row.year or 0)))),
        tuple(_by(refused, "reason").most_common()),
    )


def _by(rows: Sequence[dict[str, Any]], *names: str) -> Counter[Any]:
    counts, key_of = Counter[Any](), itemgetter(*names)
    for row in rows:
        counts[key_of(row)] += row["number"]
    return counts

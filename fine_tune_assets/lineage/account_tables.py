"""Reads what the account is computed from: id columns of the stored tables, and the states of drafts in the ledger.

Counts again only what changed. Never reads a text.
"""

import threading
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fine_tune_assets.core.fingerprints import fingerprint_listing
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.reviews.erasures import list_erased_subjects
from fine_tune_assets.ledger.reviews.review_items import count_item_versions, list_unapproved_ids
from fine_tune_assets.lineage.account import COLUMNS, Account, AccountFacts, TableCounts, count_tables
from fine_tune_assets.lineage.set_history import read_newest_excluded
from fine_tune_assets.recipes.schema import PairTask, Recipe
from fine_tune_assets.tables.asset_tables import TABLES
from fine_tune_assets.tables.instruction_rows import simplify_reason
from fine_tune_assets.tables.record_classes import conform

CountUnread = Callable[[], Mapping[str, int]]
"""Returns the files of each batch folder that was never read."""


def read_account(layout: Layout, ledger: Ledger, recipe: Recipe | None, unread_files: Mapping[str, int]) -> Account:
    """`recipe` names the pairs of reports that make one draft; None if it can't be loaded. Raises TableError, OSError or
    pa.ArrowInvalid for a table that can't be read."""
    counts = _count_stored_tables(layout, recipe, list_erased_subjects(ledger))
    return counts.complete(list_unapproved_ids(ledger), unread_files)


def _count_stored_tables(layout: Layout, recipe: Recipe | None, erased_subjects: Collection[str]) -> TableCounts:
    tables = {name: read_columns(layout, name, *columns) for name, columns in COLUMNS.items()}
    excluded = {row.example_id: simplify_reason(row.reason) for row in read_newest_excluded(layout.instruction_sets)}
    partners = _list_partners(tables["drafted_examples"]["report_id"], recipe)
    return count_tables(AccountFacts(tables, erased_subjects, partners, excluded))


def read_columns(layout: Layout, name: str, *columns: str) -> pa.Table:
    """These columns of all files of a table; empty if it was never written."""
    wanted = pa.schema([TABLES[name].field(column) for column in columns])
    found = [wanted.empty_table()]
    for path in sorted((layout.tables / name).glob("[!.]*.parquet")):
        with pq.ParquetFile(path) as file:
            present = [column for column in columns if column in file.schema_arrow.names]
            found.append(conform(file.read(present), wanted))
    return pa.concat_tables(found)


def _list_partners(drafted: pa.ChunkedArray, recipe: Recipe | None) -> list[str]:
    pairs = [task for task in recipe.tasks if isinstance(task, PairTask)] if recipe else []
    return [
        report_id.removesuffix(task.output_suffix) + task.input_suffix
        for task in pairs
        for report_id in drafted.filter(pc.ends_with(drafted, task.output_suffix)).to_pylist()
    ]


class AccountCache:
    """Counts the tables again only after one of them changed, and the review states only after the queue changed. Thread-safe."""

    def __init__(self, layout: Layout, ledger: Ledger, count_unread: CountUnread) -> None:
        self._layout, self._ledger, self._count_unread = layout, ledger, count_unread
        self._lock = threading.Lock()
        self._counts: tuple[Any, TableCounts] | None = None
        self._account: tuple[Any, Account] | None = None

    def latest(self, recipe: Recipe | None) -> Account:
        """Raises as `read_account`."""
        try:
            unread = self._count_unread()
        except OSError:  # the raw reports may be on an unavailable network drive
            unread = {}
        with self._lock:
            counts = self._count_tables(recipe)
            stamp = (count_item_versions(self._ledger), dict(unread))
            if self._account is None or self._account[0] != stamp:
                self._account = (stamp, counts.complete(list_unapproved_ids(self._ledger), unread))
            return self._account[1]

    def _count_tables(self, recipe: Recipe | None) -> TableCounts:
        folders = (*(self._layout.tables / name for name in COLUMNS), self._layout.instruction_sets)
        erased = list_erased_subjects(self._ledger)
        stamp = (recipe, erased, *map(fingerprint_files, folders))
        if self._counts is None or self._counts[0] != stamp:
            self._counts = (stamp, _count_stored_tables(self._layout, recipe, erased))
            self._account = None
        return self._counts[1]


def fingerprint_files(folder: Path) -> str:
    """Of the Parquet files in the folder itself: names, sizes and times."""
    return "".join(fingerprint_listing(path) for path in sorted(folder.glob("[!.]*.parquet")))

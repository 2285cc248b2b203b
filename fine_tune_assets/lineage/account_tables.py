"""Reads what the account is computed from: id columns of the stored tables, and the states of drafts in the ledger.

Computes again only after one of them changed. Never reads a text.
"""

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fine_tune_assets.core.fingerprints import fingerprint_listing
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.reviews.erasures import list_erased_subjects
from fine_tune_assets.ledger.reviews.review_items import count_item_versions, list_item_states
from fine_tune_assets.lineage.account import COLUMNS, Account, AccountFacts, compute_account
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
    tables = {name: read_columns(layout, name, *columns) for name, columns in COLUMNS.items()}
    return compute_account(
        AccountFacts(
            tables,
            unread_files,
            list_erased_subjects(ledger),
            list_item_states(ledger),
            _list_partners(tables["drafted_examples"], recipe),
            {row.example_id: simplify_reason(row.reason) for row in read_newest_excluded(layout.instruction_sets)},
        )
    )


def read_columns(layout: Layout, name: str, *columns: str) -> pa.Table:
    """These columns of all files of a table; empty if it was never written."""
    wanted = pa.schema([TABLES[name].field(column) for column in columns])
    found = [wanted.empty_table()]
    for path in sorted((layout.tables / name).glob("[!.]*.parquet")):
        present = [column for column in columns if column in pq.read_schema(path).names]
        found.append(conform(pq.read_table(path, columns=present, partitioning=None), wanted))
    return pa.concat_tables(found)


def _list_partners(drafts: pa.Table, recipe: Recipe | None) -> list[str]:
    pairs = [task for task in recipe.tasks if isinstance(task, PairTask)] if recipe else []
    return [
        report_id.removesuffix(task.output_suffix) + task.input_suffix
        for task in pairs
        for report_id in drafts["report_id"].to_pylist()
        if report_id.endswith(task.output_suffix)
    ]


class AccountCache:
    """Computes the account again only after a table or the ledger changed. Thread-safe."""

    def __init__(self, layout: Layout, ledger: Ledger, count_unread: CountUnread) -> None:
        self._layout, self._ledger, self._count_unread = layout, ledger, count_unread
        self._lock = threading.Lock()
        self._cached: tuple[Any, Account] | None = None

    def latest(self, recipe: Recipe | None) -> Account:
        """Raises as `read_account`."""
        try:
            unread = self._count_unread()
        except OSError:  # the raw reports may be on an unavailable network drive
            unread = {}
        folders = (*(self._layout.tables / name for name in COLUMNS), self._layout.instruction_sets)
        with self._lock:
            state = (count_item_versions(self._ledger), list_erased_subjects(self._ledger))
            stamp = (recipe, tuple(unread.items()), state, *map(fingerprint_files, folders))
            if self._cached is None or self._cached[0] != stamp:
                self._cached = (stamp, read_account(self._layout, self._ledger, recipe, unread))
            return self._cached[1]


def fingerprint_files(folder: Path) -> str:
    """Of the Parquet files in the folder itself: names, sizes and times."""
    return "".join(fingerprint_listing(path) for path in sorted(folder.glob("[!.]*.parquet")))

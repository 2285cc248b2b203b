"""The desk's cached account: as current as a new one, without reading the tables again after each decision."""

import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.reviews.review_items import list_unapproved_ids, set_states, sync_items
from fine_tune_assets.ledger.reviews.review_rows import STATES, NewItem
from fine_tune_assets.lineage.account_tables import AccountCache, read_account
from fine_tune_assets.tables.asset_tables import RECORDS
from fine_tune_assets.tables.record_classes import table_from_records
from fine_tune_assets_tests.lineage.omitted_rows import APPROVED, Rows
from fine_tune_assets_tests.record_factory import made

PARTITIONED = {"reports", "scrubbed_reports"}
NOW = datetime(2026, 5, 1, tzinfo=UTC)
ITEM = NewItem(
    example_id="e1",
    fingerprint="f",
    report_id="b/1",
    subject_key="s",
    line="l",
    task="t",
    source="c",
    author=None,
    is_trusted=False,
    flag_count=0,
    flag_kinds=(),
    state="waiting",
    decided_by=(),
)
DRAFTS: Rows = {
    **{name: rows for name, rows in APPROVED.items() if name != "approved_examples"},
    "drafted_examples": [{"example_id": f"e{number}", "report_id": "b/1"} for number in range(3)],
}


def store(layout: Layout, rows: Rows) -> None:
    for name, found in rows.items():
        records = [made(RECORDS[name], **row) for row in found]
        path = layout.table(name, "b" if name in PARTITIONED else None)
        write_table(path, table_from_records(RECORDS[name], records))


def decide(ledger: Ledger, **states: str) -> None:
    with ledger.begin() as connection:
        set_states(connection, {example_id: (state, ()) for example_id, state in states.items()}, ())


def damage(path: Path) -> None:
    """Replace the content, but keep size and time, by which the cache recognizes a table."""
    facts = path.stat()
    path.write_bytes(b"x" * facts.st_size)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def test_after_a_decision_the_account_is_current_and_no_table_is_read_again(layout: Layout, ledger: Ledger) -> None:
    """Reviewers decide every minute, and with 100,000 reports the tables take ten times as long as the review states."""
    store(layout, DRAFTS)
    sync_items(ledger, [replace(ITEM, example_id=f"e{number}") for number in range(3)], NOW)
    cache = AccountCache(layout, ledger, lambda: {"late": 2})
    before = cache.latest(None)
    assert [(one.reason.name, one.count) for one in before.omissions] == [("not_read", 2), ("waiting", 3)]
    assert before == read_account(layout, ledger, None, {"late": 2})
    for path in layout.tables.rglob("*.parquet"):
        damage(path)
    assert cache.latest(None) is before
    decide(ledger, e0="approved", e1="rejected")
    assert [(one.reason.name, one.count) for one in cache.latest(None).omissions] == [
        ("not_read", 2), ("waiting", 1), ("rejected", 1), ("not_approved", 1),
    ]  # fmt: skip


def test_a_written_table_and_a_new_batch_folder_change_the_cached_account(layout: Layout, ledger: Ledger) -> None:
    store(layout, DRAFTS)
    unread = {"late": 2}
    cache = AccountCache(layout, ledger, lambda: unread)
    cache.latest(None)
    store(layout, {"approved_examples": [{"example_id": "e0"}, {"example_id": "e1"}]})
    assert cache.latest(None) == read_account(layout, ledger, None, unread)
    unread["later"] = 1
    assert cache.latest(None) == read_account(layout, ledger, None, unread)
    assert [(one.batch, one.reason.name, one.count) for one in cache.latest(None).omissions] == [
        ("late", "not_read", 2), ("later", "not_read", 1), ("b", "not_approved", 1), ("b", "not_in_set", 2),
    ]  # fmt: skip


def test_ids_are_grouped_by_each_state_that_is_not_approved_without_removed_drafts(ledger: Ledger) -> None:
    """On both databases, whose functions for joined texts differ."""
    names = [f"{state}-{number}" for state in STATES for number in range(2)]
    items = [replace(ITEM, example_id=name, state=name.split("-")[0]) for name in names]
    sync_items(ledger, [*items, replace(ITEM, example_id="removed")], NOW)
    sync_items(ledger, items, NOW)
    found = {state: set(ids) for state, ids in list_unapproved_ids(ledger).items()}
    assert found == {state: {f"{state}-0", f"{state}-1"} for state in set(STATES) - {"approved", "trusted"}}
    sync_items(ledger, [], NOW)
    assert list_unapproved_ids(ledger) == {}

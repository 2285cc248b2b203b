"""Tables of an older version: pages work without optional columns, or say what to run."""

from collections.abc import Callable
from html import unescape

import pyarrow.parquet as pq
import pytest

from fine_tune_assets.core.files import write_table
from fine_tune_assets_tests.desk.conftest import Site
from fine_tune_assets_tests.desk.installation import BATCH, MISSED, drafts_of

Ward = Callable[..., Site]


def drop(site: Site, table: str, *columns: str, partition: str | None = None) -> None:
    path = site.settings.layout.table(table, partition)
    write_table(path, pq.read_table(path).drop_columns(list(columns)))


@pytest.fixture
def site(ward: Ward) -> Site:
    made = ward()
    made.add("One", "reviewer")
    made.add("Chief", "approver")
    return made


def test_pages_work_without_an_optional_column(site: Site) -> None:
    """After an update, users continue to work while the tables are rebuilt."""
    draft = drafts_of(site.settings)[0]
    drop(site, "drafted_examples", "needs_review", "drafted_by")
    one = site.signed_in("One")
    assert one.get(f"/items/{draft['example_id']}").status_code == 200
    assert one.approve(draft).status_code == 303
    assert one.get("/queue").status_code == 200


@pytest.mark.parametrize(
    ("table", "column"),
    [("drafted_examples", "flags"), ("drafted_examples", "input"), ("scrubbed_reports", "tagged_text")],
)
def test_a_missing_required_column_is_explained(site: Site, table: str, column: str) -> None:
    """The page says what to run instead of "the desk failed"."""
    draft = drafts_of(site.settings)[0]
    drop(site, table, column, partition=BATCH if table == "scrubbed_reports" else None)
    shown = site.signed_in("One").get(f"/items/{draft['example_id']}")
    assert shown.status_code == 400
    assert f"{table} was written by an older version and has no column {column}" in unescape(shown.text)
    assert f"fine-tune materialize {table}" in shown.text


def test_a_trace_does_not_say_none_if_the_table_lacks_the_column(site: Site) -> None:
    """Without subject keys, "no model saw this subject" would be wrong."""
    draft = drafts_of(site.settings)[0]
    drop(site, "drafted_examples", "subject_key")
    asked = {"subject_key": draft["subject_key"]}
    shown = site.signed_in("Chief").post("/subjects", asked, page="/subjects")
    assert (shown.status_code, "has no column subject_key" in shown.text) == (400, True)


def test_a_mark_works_with_batches_of_older_versions(site: Site) -> None:
    """The search for copies reads every batch."""
    draft = next(draft for draft in drafts_of(site.settings) if MISSED in draft["input"])
    path = site.settings.layout.table("scrubbed_reports", BATCH)
    write_table(path.with_name("2025-01-before.parquet"), pq.read_table(path).drop_columns(["tagged_text"]))
    one, item = site.signed_in("One"), f"/items/{draft['example_id']}"
    marked = one.post(f"{item}/mark", {"kind": "NAME", "term": MISSED}, page="/account")
    assert marked.status_code == 303
    assert one.get(item).status_code == 409

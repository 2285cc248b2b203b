"""Edits of reviewers in the ledger: one per example and reviewer, encrypted, deleted with the subject and after a month."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.ledger_errors import LedgerError
from fine_tune_assets.ledger.ledger_tables import saved_edits
from fine_tune_assets.ledger.reviews.erasures import (
    SubjectIds,
    delete_subject_records,
    purge_deleted_rows,
    record_erasure,
)
from fine_tune_assets.ledger.reviews.review_items import sync_items
from fine_tune_assets.ledger.reviews.review_rows import NewItem, ReviewItem
from fine_tune_assets.ledger.reviews.saved_edits import KEPT_DAYS, delete_edit, find_edit, save_edit

KEY = b"k" * 32
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
ITEM = ReviewItem(
    "e1", "f1", "b/1", "a" * 64, "line", "plan", "ward", 0, (), "waiting", NOW, None, None, None, 1, ""
)  # fmt: skip
OTHER = replace(ITEM, example_id="e2", subject_key="b" * 64)


@pytest.fixture(autouse=True)
def queue(ledger: Ledger) -> list[NewItem]:
    """The two items."""
    fields = {name: getattr(ITEM, name) for name in NewItem.__dataclass_fields__ if hasattr(ITEM, name)}
    first = NewItem(**fields, author=None, is_trusted=False, decided_by=())
    queued = [first, replace(first, example_id=OTHER.example_id, subject_key=OTHER.subject_key)]
    sync_items(ledger, queued, NOW)
    return queued


def save(
    ledger: Ledger, text: str, item: ReviewItem = ITEM, reviewer: str = "Ann", minute: int = 0, days: int = 0
) -> None:
    at = NOW + timedelta(days=days, minutes=minute)
    save_edit(ledger, KEY, item, reviewer, base_fingerprint="f1", text=text, now=at)


def text_of(ledger: Ledger, item: ReviewItem = ITEM, reviewer: str = "Ann") -> str | None:
    found = find_edit(ledger, KEY, item.example_id, reviewer)
    return None if found is None else found.text


def test_each_reviewer_has_their_own_edit_under_any_spelling_of_their_name(ledger: Ledger) -> None:
    """The name at the provider may be written differently from the one in the ledger."""
    save(ledger, "Ice.", reviewer="Ann  LEE")
    save(ledger, "Heat.", reviewer="Ben")
    assert (text_of(ledger, reviewer="ann lee"), text_of(ledger, reviewer="Ben")) == ("Ice.", "Heat.")
    assert text_of(ledger, reviewer="Cleo") is None
    delete_edit(ledger, ITEM.example_id, "ANN LEE")
    assert (text_of(ledger, reviewer="Ann Lee"), text_of(ledger, reviewer="Ben")) == (None, "Heat.")


def test_a_request_that_is_overtaken_does_not_replace_the_newer_text(ledger: Ledger) -> None:
    """Two comparisons can run at once; the page shows the newer one."""
    save(ledger, "Ice and heat.", minute=1)
    save(ledger, "Ice and")
    assert text_of(ledger) == "Ice and heat."
    save(ledger, "Ice.", minute=2)
    assert text_of(ledger) == "Ice."


def test_the_text_is_bound_to_its_row_and_to_the_key(ledger: Ledger) -> None:
    """Someone who can write to the database can't move a text to another reviewer."""
    save(ledger, "Ice.")
    with ledger.begin() as connection:
        assert b"Ice" not in connection.execute(sa.select(saved_edits.c.text)).scalar_one()
        connection.execute(saved_edits.update().values(reviewer_key="ben"))
    with pytest.raises(LedgerError):
        text_of(ledger, reviewer="Ben")
    save(ledger, "Heat.", OTHER)
    with pytest.raises(LedgerError):
        find_edit(ledger, b"x" * 32, OTHER.example_id, "Ann")


def test_old_edits_are_deleted(ledger: Ledger) -> None:
    """An edit that no one came back to must not stay for years."""
    save(ledger, "Ice.")
    save(ledger, "Heat.", OTHER, days=KEPT_DAYS + 1)
    assert (text_of(ledger), text_of(ledger, OTHER)) == (None, "Heat.")


def test_an_erasure_deletes_the_edits_of_the_subject(ledger: Ledger, ledger_url: str) -> None:
    """Also from the database's files."""
    save(ledger, "Ice.")
    save(ledger, "Heat.", OTHER)
    with ledger.read() as connection:
        row = connection.execute(sa.select(saved_edits.c.text).where(saved_edits.c.example_id == "e1")).scalar_one()
    ids = SubjectIds(frozenset(), frozenset({"b/1"}), frozenset({"e1"}))
    erasure = record_erasure(ledger, subject_key=ITEM.subject_key, by="officer", reason="Art. 17", ids=ids)
    assert delete_subject_records(ledger, erasure)["ledger saved_edits"] == 1
    purge_deleted_rows(ledger)
    assert (text_of(ledger), text_of(ledger, OTHER)) == (None, "Heat.")
    if ledger_url.startswith("sqlite:///"):
        folder = Path(ledger_url.removeprefix("sqlite:///")).parent
        assert not any(row in path.read_bytes() for path in folder.iterdir())


def test_nothing_is_kept_of_an_item_that_changed_since_it_was_read(ledger: Ledger, queue: list[NewItem]) -> None:
    """A slow request can arrive after a decision, a removal or an erasure, which has deleted the edit."""
    sync_items(ledger, [replace(queue[0], state="approved")], NOW)
    save(ledger, "Ice.")
    save(ledger, "Heat.", OTHER)
    save(ledger, "Rest.", replace(ITEM, example_id="erased"))
    with ledger.read() as connection:
        assert connection.execute(sa.select(saved_edits)).all() == []

"""The review queue on both databases: sync, listing and assignment."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.ledger_errors import UnknownRecordError
from fine_tune_assets.ledger.reviews.review_items import (
    AssignedError,
    claim_item,
    count_queue,
    count_reviewable,
    find_item,
    find_items,
    find_next_item,
    is_decidable_by,
    list_identical_ids,
    list_items,
    release_claim,
    set_states,
    sync_items,
)
from fine_tune_assets.ledger.reviews.review_rows import (
    OPEN,
    REVIEWABLE,
    NewItem,
    QueueFilter,
    QueuePosition,
    SyncCounts,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(days=1)
ANY = QueueFilter()


def item(example_id: str, flags: tuple[str, ...] = (), **changes: object) -> NewItem:
    made = NewItem(
        example_id=example_id,
        fingerprint=f"content of {example_id}",
        report_id=f"b/{example_id}",
        subject_key="p",
        line="a-line",
        task="plan",
        source="clinic",
        author=None,
        is_trusted=False,
        flag_count=len(flags),
        flag_kinds=tuple(sorted(set(flags))),
        state="waiting",
        decided_by=(),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def ids(ledger: Ledger, filter: QueueFilter = ANY, viewer: str | None = None, limit: int = 50) -> list[str]:
    return [found.example_id for found in list_items(ledger, filter, viewer=viewer, limit=limit, after=None)]


def test_sync_adds_removes_and_restores_items(ledger: Ledger) -> None:
    """The queue matches the current drafts; a removed item loses its assignee."""
    assert sync_items(ledger, [item("a"), item("b")], NOW) == SyncCounts(2, 0, 0, 0, 2)
    claim_item(ledger, "b", "Ann", now=NOW, minutes=30)
    assert sync_items(ledger, [item("a")], LATER) == SyncCounts(0, 0, 0, 1, 1)
    assert ids(ledger) == ["a"]
    removed = find_item(ledger, "b")
    assert removed is not None
    assert (removed.removed_at, removed.assigned_to) == (LATER, None)
    assert sync_items(ledger, [item("a"), item("b")], LATER) == SyncCounts(0, 1, 0, 0, 2)
    back = find_item(ledger, "b")
    assert back is not None
    assert (back.removed_at, back.arrived_at, back.version > removed.version) == (None, LATER, True)


def test_sync_changes_only_what_differs(ledger: Ledger) -> None:
    """A version that changes for no reason would suggest that another person edited the item."""
    sync_items(ledger, [item("a"), item("b")], NOW)
    assert sync_items(ledger, [item("a", state="approved", decided_by=("ann",)), item("b")], LATER).changed == 1
    found = {one.example_id: one for one in list_items(ledger, ANY, viewer=None, limit=9, after=None)}
    assert (found["a"].state, found["a"].version, found["a"].arrived_at) == ("approved", 2, NOW)
    assert (found["b"].state, found["b"].version) == ("waiting", 1)


def test_pages_have_no_gap_and_no_repetition(ledger: Ledger) -> None:
    """Every page starts after the last row of the previous one, also if that row was decided meanwhile."""
    states = ("waiting", "second_review")
    made = [item(f"{number:02}", ("date",) * (number % 3), state=states[number % 2]) for number in range(11)]
    sync_items(ledger, made, NOW)
    ordered = sorted(made, key=lambda one: (one.state != "waiting", -one.flag_count, one.example_id))
    seen, after = list[str](), None
    while page := list_items(ledger, QueueFilter(state=OPEN), viewer=None, limit=4, after=after):
        seen += [one.example_id for one in page]
        after = QueuePosition(page[-1].example_id, page[-1].state)
        with ledger.begin() as connection:
            set_states(connection, {page[-1].example_id: ("rejected", ("ann",))}, unassign=())
    assert seen == [one.example_id for one in ordered]
    first = list_items(ledger, ANY, viewer=None, limit=1, after=QueuePosition("never there"))
    assert first == list_items(ledger, ANY, viewer=None, limit=1, after=None)


def test_what_waits_comes_first_then_flagged_and_older_items(ledger: Ledger) -> None:
    """Closed work before what waits hides the queue from its reviewers."""
    sync_items(ledger, [item("old")], NOW)
    states = ("approved", "trusted", "rejected", "disagreement", "second_review")
    rows = [item("old"), item("new"), item("flagged", ("date",)), item("worse", ("date", "side"))]
    sync_items(ledger, [*rows, *(item(state, state=state) for state in states)], LATER)
    listed = ["worse", "flagged", "old", "new", "second_review", "disagreement"]
    assert ids(ledger) == [*listed, "approved", "rejected", "trusted"]
    assert ids(ledger, QueueFilter(state=REVIEWABLE)) == listed[:-1]
    assert ids(ledger, QueueFilter(state=OPEN)) == listed


def test_waiting_items_are_counted_for_one_reviewer(ledger: Ledger) -> None:
    """The number must match the list."""
    first = {"state": "second_review", "decided_by": ("ann",)}
    sync_items(
        ledger, [item("a", author="Ann"), item("b", **first), item("c"), item("d"), item("e", state="approved")], NOW
    )
    assert (count_reviewable(ledger, "Ann", ()), count_reviewable(ledger, "Ben", ())) == (2, 4)
    assert count_reviewable(ledger, "Ben", {"a", "e", "unknown"}) == 3
    assert [is_decidable_by(ledger, one, "Ann") for one in ("a", "b", "c", "e", "unknown")] == [
        False,
        False,
        True,
        False,
        False,
    ]


def test_identical_items_are_those_that_the_viewer_may_decide_now(ledger: Ledger) -> None:
    """One for each content: a decision on one copy decides the others too."""
    same = {"case_key": "k"}
    made = [item(name, **same) for name in ("a", "b", "copy", "mine", "theirs", "done")]
    made[2] = item("copy", fingerprint="content of a", **same)
    made[3] = item("mine", author="Ann", **same)
    made[5] = item("done", state="approved", **same)
    sync_items(ledger, [*made, item("other", case_key="l"), item("none"), item("nothing")], NOW)
    claim_item(ledger, "theirs", "Ben", now=NOW, minutes=5)
    claim_item(ledger, "b", "Ann", now=NOW, minutes=5)
    assert list_identical_ids(ledger, "k", viewer="Ann", now=NOW) == ["a", "b"]
    assert list_identical_ids(ledger, "k", viewer="Ann", now=LATER) == ["a", "b", "theirs"]
    assert set(find_items(ledger, ["a", "done", "unknown"])) == {"a", "done"}
    assert list_identical_ids(ledger, "", viewer="Ann", now=NOW) == []


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        (QueueFilter(task="summary"), ["b"]),
        (QueueFilter(source="ward"), ["c"]),
        (QueueFilter(flag="number"), ["a"]),
        (QueueFilter(flag="num"), []),
        (QueueFilter(flag="%"), []),
        (QueueFilter(state="rejected"), ["d"]),
        (QueueFilter(state=OPEN), ["a", "b", "c"]),
        (QueueFilter(assigned_to="Ann"), ["c"]),
        (QueueFilter(arrived_before=NOW), []),
        (QueueFilter(arrived_after=NOW - timedelta(seconds=1), task="plan", state="waiting"), ["a", "c"]),
    ],
)
def test_filters_select_matching_items(ledger: Ledger, filter: QueueFilter, expected: list[str]) -> None:
    """Each alone and combined; a kind of flag must match completely."""
    made = [item("a", ("number", "date")), item("b", task="summary"), item("c", source="ward")]
    sync_items(ledger, [*made, item("d", state="rejected", decided_by=("ben",))], NOW)
    claim_item(ledger, "c", "Ann", now=NOW, minutes=5)
    assert ids(ledger, filter) == expected


def test_reviewer_is_not_offered_what_they_wrote_or_decided(ledger: Ledger) -> None:
    """The second review needs another person under any spelling; decided items are visible to everyone."""
    first, settled = {"state": "second_review"}, {"state": "approved", "decided_by": ("ann lee", "ben")}
    sync_items(
        ledger,
        [item("a", author="Ann Lee"), item("b", decided_by=("Ann Lee",), **first), item("c"), item("d", **settled)],
        NOW,
    )
    assert ids(ledger, viewer=" ann  LEE ") == ["c", "d"]
    assert ids(ledger, viewer="Lee") == ["a", "c", "b", "d"]
    assert ids(ledger) == ["a", "c", "b", "d"]
    found = [find_next_item(ledger, ANY, viewer=who, now=NOW, after=None) for who in ("Ann Lee", "Ben")]
    assert [one and one.example_id for one in found] == ["c", "a"]


def test_next_item_is_open_unassigned_and_after_the_current_one(ledger: Ledger) -> None:
    """Skipping goes to the following item. Disagreements are offered only on request."""
    sync_items(ledger, [item("a"), item("b"), item("c"), item("d", state="disagreement")], NOW)
    claim_item(ledger, "b", "Ben", now=NOW, minutes=30)

    def following(after: str | None, now: datetime = NOW, who: str = "Ann", filter: QueueFilter = ANY) -> str | None:
        place = None if after is None else QueuePosition(after)
        found = find_next_item(ledger, filter, viewer=who, now=now, after=place)
        return found and found.example_id

    assert (following(None), following("a"), following("a", who="Ben"), following("c")) == ("a", "c", "b", None)
    assert following("a", now=NOW + timedelta(minutes=30)) == "b"
    assert following(None, filter=QueueFilter(state="disagreement")) == "d"


def test_item_is_assigned_to_one_person_for_a_limited_time(ledger: Ledger) -> None:
    """Two people must not edit one item, and a person who left must not block it."""
    sync_items(ledger, [item("a")], NOW)
    mine = claim_item(ledger, "a", "Ann", now=NOW, minutes=30)
    assert mine == find_item(ledger, "a")
    with pytest.raises(AssignedError, match=r"Ann.* 12:30 UTC"):
        claim_item(ledger, "a", "Ben", now=NOW, minutes=30)
    with pytest.raises(AssignedError):
        release_claim(ledger, "a", "Ben", now=NOW)
    longer = claim_item(ledger, "a", "ANN", now=NOW + timedelta(minutes=20), minutes=30)
    assert (longer.version, longer.assigned_until) == (mine.version, NOW + timedelta(minutes=50))
    theirs = claim_item(ledger, "a", "Ben", now=NOW + timedelta(minutes=50), minutes=30)
    assert (theirs.assigned_to, theirs.version) == ("Ben", mine.version + 1)
    assert release_claim(ledger, "a", "Ben", now=NOW + timedelta(minutes=51)).assigned_to is None
    claim_item(ledger, "a", "Ann", now=NOW + timedelta(minutes=52), minutes=30)


def test_removed_or_unknown_item_cannot_be_claimed(ledger: Ledger) -> None:
    """The page may have been open while the draft changed."""
    sync_items(ledger, [item("a")], NOW)
    sync_items(ledger, [], NOW)
    for example_id in ("a", "never"):
        with pytest.raises(UnknownRecordError, match="fine-tune review list"):
            claim_item(ledger, example_id, "Ann", now=NOW, minutes=30)
    assert find_item(ledger, "never") is None


def test_progress_and_filter_options_count_current_items(ledger: Ledger) -> None:
    """Counts that include removed items would never go down."""
    made = [item("a", ("number",)), item("b", ("number", "date")), item("c", task="summary", state="trusted")]
    sync_items(ledger, [*made, item("d", ("side",), source="ward")], NOW)
    sync_items(ledger, made, NOW)
    (plan, summary), found = count_queue(ledger)
    assert (plan.task, plan.counts, plan.open, plan.total) == ("plan", {"waiting": 2}, 2, 2)
    assert (summary.task, summary.counts, summary.open, summary.total) == ("summary", {"trusted": 1}, 0, 1)
    assert (found.tasks, found.sources) == ({"plan": 2, "summary": 1}, {"clinic": 3})
    assert (found.flags, found.states) == ({"number": 2, "date": 1}, {"waiting": 2, "trusted": 1})


def test_items_are_found_under_any_spelling_of_the_assignee(ledger: Ledger) -> None:
    """SQLite folds only ASCII, PostgreSQL by its locale: names are compared in Python."""
    sync_items(ledger, [item("a"), item("b")], NOW)
    claim_item(ledger, "a", "Zo\u00eb", now=NOW, minutes=30)
    mine = list_items(ledger, QueueFilter(assigned_to="ZOE\u0308"), viewer="zo\u00eb", limit=9, after=None)
    assert [found.example_id for found in mine] == ["a"]
    following = find_next_item(ledger, QueueFilter(), viewer="ZO\u00cb", now=NOW, after=None)
    assert following is not None
    assert following.example_id == "a"
    other = find_next_item(ledger, QueueFilter(), viewer="Zoe", now=NOW, after=None)
    assert other is not None
    assert other.example_id == "b"

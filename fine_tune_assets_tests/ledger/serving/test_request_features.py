from dataclasses import replace
from datetime import UTC, datetime, timedelta

from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.reviews.correction_records import count_corrections_by_kind, record_correction
from fine_tune_assets.ledger.serving.request_features import (
    RETENTION_DAYS,
    WindowRow,
    add_window,
    list_ended_windows,
    windows_fingerprint,
)
from fine_tune_assets_tests.ledger.ledger_rows import record_promoted

END = datetime(2026, 5, 2, tzinfo=UTC)
ROW = WindowRow(
    release_id="r-1",
    extractor_fingerprint="reading",
    window_end=END,
    window_start=END - timedelta(hours=20),
    requests=50,
    unread=1,
    counts={"language": {"en": 40, "de": 10}},
    refused=2,
    lookups=10,
    lookup_hits=8,
)


def test_counts_of_several_gateways_are_one_window(ledger: Ledger) -> None:
    add_window(ledger, ROW)
    other = replace(
        ROW,
        window_start=END - timedelta(hours=22),
        counts={"language": {"en": 50}},
    )
    add_window(ledger, other)
    (found,) = list_ended_windows(ledger, "r-1", "reading", END)
    assert (found.requests, found.unread, found.refused, found.lookups, found.lookup_hits) == (100, 2, 4, 20, 16)
    assert found.counts == {"language": {"de": 10, "en": 90}}
    assert found.window_start == END - timedelta(hours=22)


def test_window_counts_once_it_ended_for_its_release_and_extractor(ledger: Ledger) -> None:
    """Half a day is not comparable with a full one."""
    assert windows_fingerprint(ledger, END) is None
    add_window(ledger, ROW)
    early = END - timedelta(seconds=1)
    assert (list_ended_windows(ledger, "r-1", "reading", early), windows_fingerprint(ledger, early)) == ([], None)
    assert len(list_ended_windows(ledger, "r-1", "reading", END)) == 1
    assert list_ended_windows(ledger, "r-2", "reading", END) == list_ended_windows(ledger, "r-1", "other", END) == []
    before = windows_fingerprint(ledger, END)
    add_window(ledger, replace(ROW, window_end=END + timedelta(days=1)))
    assert windows_fingerprint(ledger, END) == before != windows_fingerprint(ledger, END + timedelta(days=1))


def test_old_windows_are_deleted(ledger: Ledger) -> None:
    """A quarter of a year suffices to see a trend."""
    add_window(ledger, ROW)
    add_window(ledger, replace(ROW, window_end=END + timedelta(days=RETENTION_DAYS + 1)))
    assert len(list_ended_windows(ledger, "r-1", "reading", END + timedelta(days=200))) == 1


def test_corrections_of_a_window_are_counted_by_kind(ledger: Ledger) -> None:
    """No key is needed, because texts are not read."""
    record_promoted(ledger, "r-1")
    for number, kind in enumerate(("omission", "omission", None)):
        record_correction(
            ledger, b"k" * 32, release_id="r-1", instruction="i", input="x", answer="a", corrected_answer="b",
            author="a", idempotency_key=str(number), error_kind=kind, severity=None, seconds_spent=None, daily_limit=0,
        )  # fmt: skip
    now = datetime.now(UTC)
    hour = timedelta(hours=1)
    assert count_corrections_by_kind(ledger, "r-1", now - hour, now + hour) == {"omission": 2, "": 1}
    assert count_corrections_by_kind(ledger, "r-1", now + hour, now + 2 * hour) == {}

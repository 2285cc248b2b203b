from dataclasses import replace
from datetime import UTC, datetime, timedelta

from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.reviews.corrections import corrections_by_kind, record_correction
from fine_tune_assets.ledger.serving.request_features import (
    KEPT_DAYS,
    WindowRow,
    add_window,
    ended_windows,
    windows_fingerprint,
)
from fine_tune_assets_tests.ledger.made import record_promoted

END = datetime(2026, 5, 2, tzinfo=UTC)
ROW = WindowRow(
    release_id="r-1",
    reading="reading",
    window_end=END,
    window_start=END - timedelta(hours=20),
    requests=50,
    dropped=1,
    counts={"language": {"en": 40, "de": 10}},
    refused=2,
    looked_up=10,
    found=8,
)


def test_what_several_gateways_counted_is_one_window(ledger: Ledger) -> None:
    add_window(ledger, ROW)
    other = replace(
        ROW,
        window_start=END - timedelta(hours=22),
        counts={"language": {"en": 50}},
    )
    add_window(ledger, other)
    (found,) = ended_windows(ledger, "r-1", "reading", END)
    assert (found.requests, found.dropped, found.refused, found.looked_up, found.found) == (100, 2, 4, 20, 16)
    assert found.counts == {"language": {"de": 10, "en": 90}}
    assert found.window_start == END - timedelta(hours=22)


def test_a_window_counts_once_it_has_ended_and_for_its_release_and_reading_only(ledger: Ledger) -> None:
    """Half a day is not like a whole one."""
    assert windows_fingerprint(ledger, END) is None
    add_window(ledger, ROW)
    early = END - timedelta(seconds=1)
    assert (ended_windows(ledger, "r-1", "reading", early), windows_fingerprint(ledger, early)) == ([], None)
    assert len(ended_windows(ledger, "r-1", "reading", END)) == 1
    assert ended_windows(ledger, "r-2", "reading", END) == ended_windows(ledger, "r-1", "other", END) == []
    before = windows_fingerprint(ledger, END)
    add_window(ledger, replace(ROW, window_end=END + timedelta(days=1)))
    assert windows_fingerprint(ledger, END) == before != windows_fingerprint(ledger, END + timedelta(days=1))


def test_old_windows_go(ledger: Ledger) -> None:
    """A quarter of a year is enough to see a trend."""
    add_window(ledger, ROW)
    add_window(ledger, replace(ROW, window_end=END + timedelta(days=KEPT_DAYS + 1)))
    assert len(ended_windows(ledger, "r-1", "reading", END + timedelta(days=200))) == 1


def test_corrections_of_a_window_are_counted_by_kind(ledger: Ledger) -> None:
    """Without reading them: no key is needed."""
    record_promoted(ledger, "r-1")
    for number, kind in enumerate(("omission", "omission", None)):
        record_correction(
            ledger, b"k" * 32, release_id="r-1", instruction="i", input="x", answer="a", corrected_answer="b",
            author="a", idempotency_key=str(number), error_kind=kind, severity=None, seconds_spent=None, daily_limit=0,
        )  # fmt: skip
    now = datetime.now(UTC)
    hour = timedelta(hours=1)
    assert corrections_by_kind(ledger, "r-1", now - hour, now + hour) == {"omission": 2, "": 1}
    assert corrections_by_kind(ledger, "r-1", now + hour, now + 2 * hour) == {}

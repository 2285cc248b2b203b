"""Request and token limits are shared by all processes and survive restarts."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from fine_tune_assets.ledger.audit.request_log import add_tokens, count_tokens_used, lease_requests
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.ledger_tables import caller_usage

NOW = datetime(2026, 5, 1, 12, 30, 15, tzinfo=UTC)


def test_concurrent_leases_never_exceed_the_limit(ledger: Ledger) -> None:
    """Two workers must not each grant the full limit."""
    with ThreadPoolExecutor(8) as pool:
        taken = [count for count, _ in pool.map(lambda _: lease_requests(ledger, "key:a", 50, NOW), range(40))]
    assert sum(taken) == 50
    assert max(taken) == 2


def test_small_limit_is_leased_one_request_at_a_time(ledger: Ledger) -> None:
    """A process that leases more than it uses blocks the others."""
    assert [lease_requests(ledger, "key:a", 2, NOW) for _ in range(3)] == [(1, 1), (1, 0), (0, 0)]


def test_each_minute_and_caller_is_counted_separately(ledger: Ledger) -> None:
    """One caller's flood must not affect another caller."""
    assert lease_requests(ledger, "key:a", 1, NOW) == (1, 0)
    assert lease_requests(ledger, "key:b", 1, NOW) == (1, 0)
    assert lease_requests(ledger, "key:a", 1, NOW + timedelta(seconds=30)) == (0, 0)
    assert lease_requests(ledger, "key:a", 1, NOW + timedelta(seconds=45)) == (1, 0)


def test_tokens_add_up_within_a_utc_day(ledger: Ledger) -> None:
    """The local time zone does not matter."""
    for count in (5, 7):
        with ledger.begin() as connection:
            add_tokens(connection, {"key:a": count, "key:b": 1}, NOW)
    assert (count_tokens_used(ledger, "key:a", NOW), count_tokens_used(ledger, "key:b", NOW)) == (12, 2)
    assert count_tokens_used(ledger, "key:a", NOW + timedelta(hours=12)) == 0


def test_old_counts_are_deleted(ledger: Ledger) -> None:
    """Otherwise the table would grow by a row per minute and caller."""
    lease_requests(ledger, "key:a", 1, NOW)
    lease_requests(ledger, "key:a", 1, NOW + timedelta(days=3))
    with ledger.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(caller_usage)).scalar() == 1

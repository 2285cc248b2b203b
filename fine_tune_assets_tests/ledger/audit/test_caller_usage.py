"""Limits are shared by all processes and survive each of them."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from fine_tune_assets.ledger.audit.requests import add_tokens, lease_requests, tokens_used
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.schema import caller_usage

NOW = datetime(2026, 5, 1, 12, 30, 15, tzinfo=UTC)


def test_many_who_lease_at_once_never_get_more_than_the_limit(ledger: Ledger) -> None:
    """Two workers must not each grant the whole limit."""
    with ThreadPoolExecutor(8) as pool:
        taken = [count for count, _ in pool.map(lambda _: lease_requests(ledger, "key:a", 50, NOW), range(40))]
    assert sum(taken) == 50
    assert max(taken) == 2


def test_a_limit_below_the_number_of_parts_is_leased_one_by_one(ledger: Ledger) -> None:
    """A process that took more than it uses keeps others from it."""
    assert [lease_requests(ledger, "key:a", 2, NOW) for _ in range(3)] == [(1, 1), (1, 0), (0, 0)]


def test_each_minute_and_each_caller_has_its_own(ledger: Ledger) -> None:
    """One caller's flood is no reason to refuse another."""
    assert lease_requests(ledger, "key:a", 1, NOW) == (1, 0)
    assert lease_requests(ledger, "key:b", 1, NOW) == (1, 0)
    assert lease_requests(ledger, "key:a", 1, NOW + timedelta(seconds=30)) == (0, 0)
    assert lease_requests(ledger, "key:a", 1, NOW + timedelta(seconds=45)) == (1, 0)


def test_tokens_of_a_day_add_up_and_begin_anew(ledger: Ledger) -> None:
    """A day of UTC, whatever the clock on the wall."""
    for count in (5, 7):
        with ledger.begin() as connection:
            add_tokens(connection, {"key:a": count, "key:b": 1}, NOW)
    assert (tokens_used(ledger, "key:a", NOW), tokens_used(ledger, "key:b", NOW)) == (12, 2)
    assert tokens_used(ledger, "key:a", NOW + timedelta(hours=12)) == 0


def test_old_counts_go(ledger: Ledger) -> None:
    """The table would grow by a row a minute and caller."""
    lease_requests(ledger, "key:a", 1, NOW)
    lease_requests(ledger, "key:a", 1, NOW + timedelta(days=3))
    with ledger.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(caller_usage)).scalar() == 1

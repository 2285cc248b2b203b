"""One database per process, and a cursor for each query."""

import os
from concurrent.futures import ThreadPoolExecutor

from fine_tune_assets.tables.duckdb_connection import _database, open_cursor


def _square(number: int) -> int:
    with open_cursor() as asking:
        return int(asking.execute("select ?::int * ?::int", [number, number]).fetchall()[0][0])


def test_concurrent_threads_get_their_own_results() -> None:
    """The desk serves pages in threads; one shared cursor would mix up their results."""
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(_square, range(200))) == [number**2 for number in range(200)]


def test_closing_a_cursor_leaves_others_open() -> None:
    """Each query closes its own; the database stays."""
    other = open_cursor()
    assert _square(3) == 9
    assert other.execute("select 1").fetchall() == [(1,)]


def test_forked_process_opens_its_own_database() -> None:
    """Using the parent's database would hang in locks that are never released."""
    assert _database(os.getpid()) is _database(os.getpid())
    assert _database(os.getpid()) is not _database(-1)

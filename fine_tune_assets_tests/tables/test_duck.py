"""One database a process, and a cursor for each question."""

import os
from concurrent.futures import ThreadPoolExecutor

from fine_tune_assets.tables.duck import _database, cursor


def _square(number: int) -> int:
    with cursor() as asking:
        return int(asking.execute("select ?::int * ?::int", [number, number]).fetchall()[0][0])


def test_threads_ask_at_the_same_time_and_each_gets_its_own_answer() -> None:
    """The desk answers pages in threads: with one connection their answers would be mixed up."""
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(_square, range(200))) == [number**2 for number in range(200)]


def test_a_closed_cursor_closes_no_other_one() -> None:
    """Each question closes its own; the database stays."""
    kept = cursor()
    assert _square(3) == 9
    assert kept.execute("select 1").fetchall() == [(1,)]


def test_another_process_opens_its_own_database() -> None:
    """A forked process that went on with its parent's would hang in locks that nobody releases."""
    assert _database(os.getpid()) is _database(os.getpid())
    assert _database(os.getpid()) is not _database(-1)

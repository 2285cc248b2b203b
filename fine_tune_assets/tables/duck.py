"""Questions in SQL over Parquet files: one DuckDB database a process.

Owns that it is opened once, which takes 16 ms, and that each question has a cursor of its own, so that threads may ask at once.
"""

import os
from functools import cache

import duckdb


def cursor() -> duckdb.DuckDBPyConnection:
    """For one question or several of one thread; close it, or use it in `with`."""
    return _database(os.getpid()).cursor()


@cache
def _database(_process: int) -> duckdb.DuckDBPyConnection:
    """In memory: it keeps nothing. A forked process opens its own."""
    return duckdb.connect()

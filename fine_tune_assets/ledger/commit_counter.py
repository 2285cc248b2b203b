"""Tells whether anything was committed to the ledger, without a query: for loops that look twice a second."""

import sqlite3
from contextlib import suppress
from pathlib import Path
from threading import Lock

import sqlalchemy as sa


class CommitCounter:
    """Threads can share it."""

    def __init__(self, database_url: str) -> None:
        url = sa.make_url(database_url)
        self._path = url.database if url.get_backend_name() == "sqlite" else None
        self._connection: sqlite3.Connection | None = None
        self._lock = Lock()

    def read(self) -> int | None:
        """A number that changes with each commit of any process; None if it can't be read, or on PostgreSQL: then look.

        SQLite's `data_version` does not count commits of the connection that reads it; this one writes nothing.
        """
        if self._path is None:
            return None
        with self._lock:
            try:
                if self._connection is None:
                    uri = f"{Path(self._path).absolute().as_uri()}?mode=rw"
                    self._connection = sqlite3.connect(uri, uri=True, check_same_thread=False)
                return int(self._connection.execute("PRAGMA data_version").fetchone()[0])
            except sqlite3.Error:
                self.close()
                return None

    def close(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

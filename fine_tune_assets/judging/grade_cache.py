"""What models did for judging is kept: answers, grades, comparisons, and how questions and probes came out. Asked the same again,
nothing is computed.

Owns the file. A key is a hash of all that was asked and of whom; an entry is text of reports. It lies in the cache, whose files
an erasure removes: which patient an entry is about, nobody can tell.
"""

import json
import sqlite3
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fine_tune_assets.core.files import make_folder
from fine_tune_assets.core.fingerprints import fingerprint_json

FILE = "judging/kept.sqlite"
"""Below the cache folder."""
KEPT_DAYS = 90
"""An entry that nobody asked for so long is removed: models come and go, and each leaves its answers."""
_ASKED_AT_ONCE = 500
_DAY = 86400


def content_key(**asked: Any) -> str:
    """The key of what is asked: JSON values, whose order does not matter."""
    return fingerprint_json(asked)


class GradeCache:
    """One SQLite file, for its user only. Several processes may use it at once; one that is killed loses nothing written."""

    def __init__(self, path: Path) -> None:
        make_folder(path.parent)
        path.touch(mode=0o600)
        self._connection = sqlite3.connect(path, timeout=60)
        self._connection.execute("pragma journal_mode=wal")
        self._connection.execute("pragma secure_delete=on")
        with self._connection:
            self._connection.execute(
                "create table if not exists kept (key text primary key, value text not null, day integer not null) without rowid"
            )
            self._connection.execute("delete from kept where day < ?", (_today() - KEPT_DAYS,))

    def get(self, keys: Sequence[str]) -> dict[str, Any]:
        """Key → value of those that are kept."""
        found: dict[str, Any] = {}
        for start in range(0, len(keys), _ASKED_AT_ONCE):
            part = keys[start : start + _ASKED_AT_ONCE]
            among = f"where key in ({','.join('?' * len(part))})"
            found.update(self._connection.execute(f"select key, value from kept {among}", part).fetchall())
            with self._connection:
                self._connection.execute(f"update kept set day = ? {among}", (_today(), *part))
        return {key: json.loads(value) for key, value in found.items()}

    def put(self, entries: Mapping[str, Any]) -> None:
        rows = [(key, json.dumps(value, ensure_ascii=False), _today()) for key, value in entries.items()]
        with self._connection:
            self._connection.executemany("insert or replace into kept values (?, ?, ?)", rows)

    def close(self) -> None:
        self._connection.close()


def _today() -> int:
    return int(time.time() // _DAY)

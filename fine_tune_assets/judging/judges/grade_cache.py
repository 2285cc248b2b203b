"""Caches the results of judging: answers, grades, comparisons and test outcomes.

Keys hash the question and the model; values are text of reports. The file is in the cache folder, which an erasure deletes,
because an entry does not name its subject. Answers of the bundled base model to the sample data ship with the repository (`make
shipped-release` writes them).
"""

import json
import sqlite3
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from fine_tune_assets.core.files import make_folder, write_text
from fine_tune_assets.core.fingerprints import fingerprint_json
from fine_tune_assets.tables.shipped_measurements import MEASUREMENTS_FOLDER

CACHE_FILE = "judging/answers.sqlite"
"""Path below the cache folder."""
RETENTION_DAYS = 90
"""Entries that were not used for this long are removed, so that answers of old models do not accumulate."""
SHIPPED_FILE = MEASUREMENTS_FOLDER / "base_model_answers.json"
_MAX_KEYS_PER_QUERY = 500
_DAY_SECONDS = 86400


def content_key(**parts: Any) -> str:
    """The key of a question, from JSON values in any order."""
    return fingerprint_json(parts)


class GradeCache:
    """One SQLite file, readable by its owner only. Several processes may use it; a killed process loses no written entry."""

    def __init__(self, path: Path) -> None:
        make_folder(path.parent)
        path.touch(mode=0o600)
        self._connection = sqlite3.connect(path, timeout=60)
        self._connection.execute("pragma journal_mode=wal")
        self._connection.execute("pragma secure_delete=on")
        with self._connection:
            self._connection.execute(
                "create table if not exists entries "
                "(key text primary key, value text not null, model text, day integer not null) without rowid"
            )
            self._connection.execute("drop table if exists kept")  # table of an earlier version
            self._connection.execute("delete from entries where day < ?", (_today() - RETENTION_DAYS,))

    def get(self, keys: Sequence[str]) -> dict[str, Any]:
        """Key → value of the cached keys."""
        found: dict[str, Any] = {}
        for start in range(0, len(keys), _MAX_KEYS_PER_QUERY):
            part = keys[start : start + _MAX_KEYS_PER_QUERY]
            among = f"where key in ({','.join('?' * len(part))})"
            found.update(self._connection.execute(f"select key, value from entries {among}", part).fetchall())
            with self._connection:
                self._connection.execute(f"update entries set day = ? {among}", (_today(), *part))
        shipped = {} if len(found) == len(keys) else _shipped_entries()
        return {key: shipped[key] for key in keys if key in shipped} | {k: json.loads(v) for k, v in found.items()}

    def put(self, entries: Mapping[str, Any], model: str | None = None) -> None:
        """Store entries. `model`: fingerprint of the model that answered."""
        rows = [(key, json.dumps(value, ensure_ascii=False), model, _today()) for key, value in entries.items()]
        with self._connection:
            self._connection.executemany("insert or replace into entries values (?, ?, ?, ?)", rows)

    def ship(self, model: str, path: Path = SHIPPED_FILE) -> None:
        """Write all answers of `model` to the JSON file that ships with the repository."""
        rows = self._connection.execute("select key, value from entries where model = ? order by key", (model,))
        write_text(path, "{\n" + ",\n".join(f'"{key}": {value}' for key, value in rows) + "\n}\n")

    def close(self) -> None:
        self._connection.close()


@cache
def _shipped_entries() -> dict[str, Any]:
    return dict(json.loads(SHIPPED_FILE.read_text(encoding="utf-8"))) if SHIPPED_FILE.is_file() else {}


def _today() -> int:
    return int(time.time() // _DAY_SECONDS)

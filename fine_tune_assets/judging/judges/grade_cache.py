"""What models did for judging is kept: answers, grades, comparisons, and how questions and probes came out. Asked the same again,
nothing is computed.

Owns the file. A key hashes the question and the model; an entry is text of reports. The file is in the cache, which an erasure
removes, because an entry does not say which patient it is about. The bundled base model's answers to the unchanged sample are the
same everywhere, so they come with the repository (`make shipped-release` writes them).
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
from fine_tune_assets.tables.shipped_measurements import FOLDER

FILE = "judging/answers.sqlite"
"""Below the cache folder."""
KEPT_DAYS = 90
"""An entry that was not used for so long is removed: models come and go, and each leaves its answers."""
SHIPPED = FOLDER / "base_model_answers.json"
_ASKED_AT_ONCE = 500
_DAY = 86400


def content_key(**asked: Any) -> str:
    """The key of a question: JSON values, whose order does not matter."""
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
                "create table if not exists kept "
                "(key text primary key, value text not null, model text, day integer not null) without rowid"
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
        shipped = {} if len(found) == len(keys) else _shipped()
        return {key: shipped[key] for key in keys if key in shipped} | {k: json.loads(v) for k, v in found.items()}

    def put(self, entries: Mapping[str, Any], model: str | None = None) -> None:
        """`model`: fingerprint of the one that answered."""
        rows = [(key, json.dumps(value, ensure_ascii=False), model, _today()) for key, value in entries.items()]
        with self._connection:
            self._connection.executemany("insert or replace into kept values (?, ?, ?, ?)", rows)

    def ship(self, model: str, path: Path = SHIPPED) -> None:
        """Write all answers of `model` to a JSON file that comes with the repository."""
        rows = self._connection.execute("select key, value from kept where model = ? order by key", (model,))
        write_text(path, "{\n" + ",\n".join(f'"{key}": {value}' for key, value in rows) + "\n}\n")

    def close(self) -> None:
        self._connection.close()


@cache
def _shipped() -> dict[str, Any]:
    return dict(json.loads(SHIPPED.read_text(encoding="utf-8"))) if SHIPPED.is_file() else {}


def _today() -> int:
    return int(time.time() // _DAY)

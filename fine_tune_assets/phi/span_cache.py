"""Caches the spans found in a text, so that the scrubber processes each text once.

Keys are keyed hashes of text and known identifiers; entries are offsets and kinds. Without the key and the reports, the file
reveals nothing. Each scrubber version has its own file; old versions are deleted.
"""

import hmac
import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from fine_tune_assets.phi.spans.spans import Span

MAX_VERSIONS = 3
_KEYS_PER_QUERY = 500


class SpanCache:
    """One SQLite file below `folder` for one scrubber version. Safe for several processes at once."""

    def __init__(self, folder: Path, version: str, secret: bytes) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._secret = secret
        path = folder / f"{version[:32]}.sqlite"
        path.touch(mode=0o600)
        _remove_old_versions(folder, path)
        self._connection = sqlite3.connect(path, timeout=60)
        self._connection.execute("pragma journal_mode=wal")
        self._connection.execute("create table if not exists found (key blob primary key, value text) without rowid")

    def compute_key(self, text: str, known: Sequence[Mapping[str, str]]) -> bytes:
        stated = sorted((entry["kind"], entry["value"]) for entry in known)
        message = json.dumps([text, stated], ensure_ascii=False).encode("utf-8", "surrogatepass")
        return hmac.digest(self._secret, b"span cache" + message, "sha256")

    def get(self, keys: Sequence[bytes]) -> dict[bytes, tuple[tuple[Span, ...], dict[str, int]]]:
        """Key → spans and residual PHI of the cached texts."""
        found: dict[bytes, tuple[tuple[Span, ...], dict[str, int]]] = {}
        for start in range(0, len(keys), _KEYS_PER_QUERY):
            part = keys[start : start + _KEYS_PER_QUERY]
            query = f"select key, value from found where key in ({','.join('?' * len(part))})"
            for key, value in self._connection.execute(query, part):
                spans, residual_phi = json.loads(value)
                found[bytes(key)] = tuple(Span(*fields) for fields in spans), residual_phi
        return found

    def put(self, entries: Iterable[tuple[bytes, Sequence[Span], Mapping[str, int]]]) -> None:
        rows = [
            (key, json.dumps([[list(vars(s).values()) for s in spans], dict(residual_phi)]))
            for key, spans, residual_phi in entries
        ]
        with self._connection:
            self._connection.executemany("insert or replace into found values (?, ?)", rows)

    def close(self) -> None:
        self._connection.close()


def clear_span_caches(folder: Path) -> int:
    """Delete every entry of every version; returns how many. Safe while a scrubber runs."""
    count = 0
    for path in sorted(folder.glob("*.sqlite")):
        connection = sqlite3.connect(path, timeout=60)
        try:
            connection.execute("pragma secure_delete=on")
            with connection:
                count += connection.execute("delete from found").rowcount
            connection.execute("pragma wal_checkpoint(truncate)")
        finally:
            connection.close()
    return count


def _remove_old_versions(folder: Path, current: Path) -> None:
    others = sorted((p for p in folder.glob("*.sqlite") if p != current), key=lambda p: p.stat().st_mtime)
    for old in others[: max(0, len(others) - (MAX_VERSIONS - 1))]:
        for path in (old, old.with_name(old.name + "-wal"), old.with_name(old.name + "-shm")):
            path.unlink(missing_ok=True)

"""The grade cache: private, durable, limited in time."""

import json
import signal
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.judging.judges.grade_cache import (
    CACHE_FILE,
    RETENTION_DAYS,
    SHIPPED_FILE,
    GradeCache,
    content_key,
)

_KILLED = """
import os, signal, sys
from pathlib import Path
from fine_tune_assets.judging.judges.grade_cache import GradeCache
cache = GradeCache(Path(sys.argv[1]))
cache.put({"a": {"score": 7.0}})
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_only_cached_entries_are_returned(tmp_path: Path) -> None:
    with closing(GradeCache(tmp_path / CACHE_FILE)) as cache:
        cache.put({"a": {"score": 7.0, "reason": "ü"}})
    with closing(GradeCache(tmp_path / CACHE_FILE)) as cache:
        assert cache.get(["a", "b"]) == {"a": {"score": 7.0, "reason": "ü"}}


def test_only_the_entries_of_one_model_are_shipped(tmp_path: Path) -> None:
    with closing(GradeCache(tmp_path / CACHE_FILE)) as cache:
        cache.put({"a": {"text": "ü"}, "b": {"right": [True]}}, "base")
        cache.put({"c": {"text": "of a report"}}, "candidate")
        cache.put({"d": 7.0})
        cache.ship("base", tmp_path / "shipped.json")
    assert json.loads((tmp_path / "shipped.json").read_text()) == {"a": {"text": "ü"}, "b": {"right": [True]}}


def test_shipped_entries_are_used_unless_the_cache_has_its_own(tmp_path: Path) -> None:
    key, shipped = next(iter(json.loads(SHIPPED_FILE.read_text(encoding="utf-8")).items()))
    with closing(GradeCache(tmp_path / CACHE_FILE)) as cache:
        assert cache.get([key, "a"]) == {key: shipped}
        cache.put({key: 1})
        assert cache.get([key, "a"]) == {key: 1}


def test_any_change_of_the_content_changes_the_key() -> None:
    one = content_key(judge="v1", asked={"input": "a", "output": "b"})
    assert one == content_key(asked={"output": "b", "input": "a"}, judge="v1")
    assert one != content_key(judge="v2", asked={"input": "a", "output": "b"})
    assert one != content_key(judge="v1", asked={"input": "a", "output": "c"})


def test_only_the_owner_can_read_the_file(tmp_path: Path) -> None:
    """Answers and quotes are text of reports."""
    with closing(GradeCache(tmp_path / CACHE_FILE)) as cache:
        cache.put({"a": 1})
        files = list((tmp_path / CACHE_FILE).parent.iterdir())
        assert len(files) > 1  # the write-ahead log contains text too
        assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
        assert stat.S_IMODE((tmp_path / CACHE_FILE).parent.stat().st_mode) == 0o700


def test_a_killed_process_loses_no_written_entry(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", _KILLED, str(tmp_path / CACHE_FILE)], cwd=PROJECT_DIR, check=False)
    assert done.returncode == -signal.SIGKILL
    with closing(GradeCache(tmp_path / CACHE_FILE)) as cache:
        assert cache.get(["a"]) == {"a": {"score": 7.0}}


def test_unused_entries_expire(tmp_path: Path) -> None:
    """Text of reports must not accumulate for models that no longer exist."""
    with closing(GradeCache(tmp_path / CACHE_FILE)) as cache:
        cache.put({"old": 1, "used": 2})
    with closing(sqlite3.connect(tmp_path / CACHE_FILE)) as connection, connection:
        connection.execute("update entries set day = day - ?", (RETENTION_DAYS,))
    with closing(GradeCache(tmp_path / CACHE_FILE)) as cache:
        cache.get(["used"])
    with closing(sqlite3.connect(tmp_path / CACHE_FILE)) as connection, connection:
        connection.execute("update entries set day = day - 1")
    with closing(GradeCache(tmp_path / CACHE_FILE)) as cache:
        assert cache.get(["old", "used"]) == {"used": 2}

"""What was generated for judging is kept, for its user only, and goes with an erasure."""

import json
import signal
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.judging.judges.grade_cache import FILE, KEPT_DAYS, SHIPPED, GradeCache, content_key

_KILLED = """
import os, signal, sys
from pathlib import Path
from fine_tune_assets.judging.judges.grade_cache import GradeCache
cache = GradeCache(Path(sys.argv[1]))
cache.put({"a": {"score": 7.0}})
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_is_kept_comes_back_and_what_is_not_does_not(tmp_path: Path) -> None:
    with closing(GradeCache(tmp_path / FILE)) as cache:
        cache.put({"a": {"score": 7.0, "reason": "ü"}})
    with closing(GradeCache(tmp_path / FILE)) as cache:
        assert cache.get(["a", "b"]) == {"a": {"score": 7.0, "reason": "ü"}}


def test_what_one_model_answered_ships_and_nothing_else(tmp_path: Path) -> None:
    with closing(GradeCache(tmp_path / FILE)) as cache:
        cache.put({"a": {"text": "ü"}, "b": {"right": [True]}}, "base")
        cache.put({"c": {"text": "of a report"}}, "candidate")
        cache.put({"d": 7.0})
        cache.ship("base", tmp_path / "shipped.json")
    assert json.loads((tmp_path / "shipped.json").read_text()) == {"a": {"text": "ü"}, "b": {"right": [True]}}


def test_what_ships_is_known_to_a_new_installation_unless_it_has_its_own(tmp_path: Path) -> None:
    key, shipped = next(iter(json.loads(SHIPPED.read_text(encoding="utf-8")).items()))
    with closing(GradeCache(tmp_path / FILE)) as cache:
        assert cache.get([key, "a"]) == {key: shipped}
        cache.put({key: 1})
        assert cache.get([key, "a"]) == {key: 1}


def test_any_change_of_what_is_asked_is_another_key() -> None:
    one = content_key(judge="v1", asked={"input": "a", "output": "b"})
    assert one == content_key(asked={"output": "b", "input": "a"}, judge="v1")
    assert one != content_key(judge="v2", asked={"input": "a", "output": "b"})
    assert one != content_key(judge="v1", asked={"input": "a", "output": "c"})


def test_only_its_user_may_read_it(tmp_path: Path) -> None:
    """Answers and quotes are text of reports."""
    with closing(GradeCache(tmp_path / FILE)) as cache:
        cache.put({"a": 1})
        files = list((tmp_path / FILE).parent.iterdir())
        assert len(files) > 1  # the write-ahead log holds text too
        assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
        assert stat.S_IMODE((tmp_path / FILE).parent.stat().st_mode) == 0o700


def test_a_run_that_is_killed_loses_nothing_that_it_kept(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", _KILLED, str(tmp_path / FILE)], cwd=PROJECT_DIR, check=False)
    assert done.returncode == -signal.SIGKILL
    with closing(GradeCache(tmp_path / FILE)) as cache:
        assert cache.get(["a"]) == {"a": {"score": 7.0}}


def test_what_nobody_asks_for_goes_in_time(tmp_path: Path) -> None:
    """Text of reports must not pile up for models that no longer exist."""
    with closing(GradeCache(tmp_path / FILE)) as cache:
        cache.put({"old": 1, "asked": 2})
    with closing(sqlite3.connect(tmp_path / FILE)) as connection, connection:
        connection.execute("update kept set day = day - ?", (KEPT_DAYS,))
    with closing(GradeCache(tmp_path / FILE)) as cache:
        cache.get(["asked"])
    with closing(sqlite3.connect(tmp_path / FILE)) as connection, connection:
        connection.execute("update kept set day = day - 1")
    with closing(GradeCache(tmp_path / FILE)) as cache:
        assert cache.get(["old", "asked"]) == {"asked": 2}

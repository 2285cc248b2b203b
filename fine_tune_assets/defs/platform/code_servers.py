"""The daemon's code server, kept for hours as long as it answers and neither code, libraries nor settings have changed.

Dagster 1.13.27's daemon starts a new one each minute (`check_workspace_freshness`), in case the code is another one: it imports
everything, and what ticks remember is gone. Owns when a new one is needed, put in the place of Dagster's in the daemon.
"""

import os
import shutil
import sysconfig
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.remote_representation.code_location import GrpcServerCodeLocation
from dagster._daemon import controller as daemon

from fine_tune_assets.core.fingerprints import combine
from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.settings import SETTINGS_FILE

KEPT_SECONDS = 6 * 3600.0
"""A process that lives for weeks holds what it never gives back."""
OCR = "tesseract"
"""A program whose version is part of what a table is made by."""
_CODE, _WORKSPACE = PROJECT_DIR / "fine_tune_assets", PROJECT_DIR / "workspace.yaml"


@dataclass(frozen=True)
class _Kept:
    since: float
    read: str


_kept: "WeakKeyDictionary[Any, _Kept]" = WeakKeyDictionary()
_refresh = daemon.DagsterDaemonController.check_workspace_freshness


def keep_code_servers() -> None:
    daemon.DagsterDaemonController.check_workspace_freshness = check_workspace_freshness  # type: ignore[method-assign, assignment]


def check_workspace_freshness(controller: Any, last_workspace_update_time: float) -> float:
    """As Dagster's: when the workspace was last found to be fresh, in Unix seconds. The first look is Dagster's own: what was
    read before it nobody knows."""
    now = time.time()
    if now - last_workspace_update_time <= daemon.RELOAD_WORKSPACE_INTERVAL:
        return last_workspace_update_time
    kept, read = _kept.get(controller), what_was_read()
    if kept is not None and kept.read == read and now - kept.since < KEPT_SECONDS and _all_answer(controller):
        return now
    fresh_since = _refresh(controller, last_workspace_update_time)
    if fresh_since != last_workspace_update_time:
        _kept[controller] = _Kept(now, read)
    return fresh_since


def what_was_read() -> str:
    """Changes with any file of the code, what is installed beside it, and the settings; and where they can't be read."""
    try:
        return combine([str(shutil.which(OCR)), *(f"{path}:{_state(path)}" for path in _files())])
    except OSError:  # a folder that was just removed
        return f"not known at {time.time()}"


def _files() -> Iterator[Path]:
    """And the folder of the libraries, which changes when one is installed."""
    yield from (_WORKSPACE, Path(sysconfig.get_paths()["purelib"]))
    if settings := os.environ.get(SETTINGS_FILE):
        yield Path(settings)
    yield from (path for path in sorted(_CODE.rglob("*")) if "__pycache__" not in path.parts and not path.is_dir())


def _state(path: Path) -> str:
    try:
        found = path.stat()
    except OSError:  # removed meanwhile
        return "none"
    return f"{found.st_mtime_ns} {found.st_size}"


def _all_answer(controller: Any) -> bool:
    workspace = controller._workspace_process_context.get_current_workspace()
    return all(_answers(entry.code_location) for entry in workspace.code_location_entries.values())


def _answers(location: Any) -> bool:
    """Of another kind, or one that could not be loaded: it is asked for again, as Dagster does."""
    if not isinstance(location, GrpcServerCodeLocation):
        return False
    try:
        location.client.ping("")
    except DagsterUserCodeUnreachableError:
        return False
    return True

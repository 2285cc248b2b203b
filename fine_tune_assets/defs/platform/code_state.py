"""A fingerprint of everything that a code server loads: code, installed libraries and settings."""

import os
import shutil
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

from fine_tune_assets.core.fingerprints import combine
from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.settings import SETTINGS_FILE

OCR = "tesseract"
"""Program whose version is part of the code version of `reports`."""
_CODE, _WORKSPACE = PROJECT_DIR / "fine_tune_assets", PROJECT_DIR / "workspace.yaml"


def fingerprint_code() -> str:
    """A value that changes with code files, installed libraries and settings, and each time that they can't be read."""
    try:
        return combine([str(shutil.which(OCR)), *(f"{path}:{_file_state(path)}" for path in _watched_files())])
    except OSError:  # a folder that was just removed
        return f"not known at {time.time()}"


def _watched_files() -> Iterator[Path]:
    """Code files, settings, the workspace file, and the library folder, whose time changes with an installation."""
    yield from (_WORKSPACE, Path(sysconfig.get_paths()["purelib"]))
    if settings := os.environ.get(SETTINGS_FILE):
        yield Path(settings)
    yield from (path for path in sorted(_CODE.rglob("*")) if "__pycache__" not in path.parts and not path.is_dir())


def _file_state(path: Path) -> str:
    try:
        found = path.stat()
    except OSError:  # removed since it was listed
        return "none"
    return f"{found.st_mtime_ns} {found.st_size}"

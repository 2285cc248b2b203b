"""Compares the weights inside installed Python packages with pinned hashes, before they are loaded.

The lock file has hashes of the downloaded packages; these are hashes of what is on the disk. They are in
`reference/package_weights.json`: a new version of a package needs new ones.
"""

import json
import time
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from fine_tune_assets.core.errors import ChangedFolderError
from fine_tune_assets.core.fingerprints import FileHashCache

_PINNED = Path(__file__).parent / "reference" / "package_weights.json"
_hash_file = FileHashCache(max_files=100, now_ns=time.time_ns)


def find_package(name: str) -> Path | None:
    """The folder of an installed package, without importing it. Raises ChangedFolderError if its pinned files have changed."""
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(spec.submodule_search_locations[0])
    changed = [file for file, pinned in _pinned_files().get(name, {}).items() if _read_hash(folder / file) != pinned]
    if changed:
        raise ChangedFolderError(
            f"{len(changed)} files of the package {name} are missing or differ from what this version was tested with, first "
            f"{changed[0]}. Nothing was loaded. Run `make setup` in a new environment."
        )
    return folder


def require_pinned_weights(package: str) -> None:
    """Raise ChangedFolderError if it is a package whose weights are pinned, and they have changed."""
    if package in _pinned_files():
        find_package(package)


def _read_hash(file: Path) -> str | None:
    try:
        return _hash_file(file)
    except OSError:
        return None


@cache
def _pinned_files() -> Mapping[str, Mapping[str, str]]:
    """Package → file → SHA-256."""
    pinned: Mapping[str, Mapping[str, str]] = json.loads(_PINNED.read_text(encoding="utf-8"))
    return pinned

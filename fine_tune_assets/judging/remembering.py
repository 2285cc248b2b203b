"""What a model did before, so that the same model is not asked the same again.

Owns the files: one for each model and what it was asked, named by the fingerprint of both. They hold names and truth values,
no text. One that can't be read is as good as none.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fine_tune_assets.core.files import write_text
from fine_tune_assets.core.fingerprints import fingerprint_json

Flags = dict[str, list[bool]]


def remembered(folder: Path, asked: Mapping[str, Any], ask: Callable[[], Flags]) -> Flags:
    """The outcome of `ask`, from an earlier time where there was one. `asked` is all that decides it, as JSON."""
    path = folder / f"{fingerprint_json(dict(asked))}.json"
    found = _read(path)
    if found is None:
        found = ask()
        write_text(path, json.dumps(found))
    return found


def _read(path: Path) -> Flags | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and all(_are_flags(values) for values in found.values()) else None


def _are_flags(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, bool) for value in values)

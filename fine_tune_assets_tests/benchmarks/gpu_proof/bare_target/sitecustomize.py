"""Hides packages from a Python process and its children, as if they were not installed; on the path only in tests of the kit.

BARE_TARGET_HIDDEN names a file with one top-level module per line.
"""

import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

_HIDDEN = frozenset(Path(os.environ["BARE_TARGET_HIDDEN"]).read_text(encoding="utf-8").split())


class VisibleFinder(PathFinder):
    @classmethod
    def find_spec(
        cls, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return None if fullname.partition(".")[0] in _HIDDEN else PathFinder.find_spec(fullname, path, target)


sys.meta_path[sys.meta_path.index(PathFinder)] = VisibleFinder

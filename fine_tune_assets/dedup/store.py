"""What was computed of a batch is kept, so that a new batch costs its own size and not that of all before it.

Owns the files: three a batch, below one folder that only its user may enter. They hold hashes and vectors, never text; what
is stored of a batch whose reports changed is made again. A vector can be turned back into something like its text (Morris
et al. 2023), so vectors are guarded like the reports that they were made of. A report that is held back leaves with the next run,
which runs at once; an erasure removes the folder.
"""

import hashlib
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fine_tune_assets.core.files import make_folder, write_bytes
from fine_tune_assets.core.fingerprints import fingerprint_text, short
from fine_tune_assets.dedup.words import Hashes

Arrays = dict[str, NDArray[Any]]
SKETCHES, BANDS, VECTORS = "sketches", "bands", "vectors"
_VERSION = "version"


class Kept(Protocol):
    """Where arrays are kept between two runs, or within one."""

    def read(self, batch: str, what: str, version: str, names: Collection[str] = ()) -> Arrays | None:
        """The arrays that were written with this version (settings, encoder, content), or those of the given names."""

    def write(self, batch: str, what: str, version: str, arrays: Arrays) -> None: ...

    def keep_only(self, batches: Iterable[str], kinds: Collection[str]) -> None:
        """Remove what is kept of all other batches, and of these what is of another kind."""


class InMemory:
    """For one run."""

    def __init__(self) -> None:
        self._arrays: dict[tuple[str, str], tuple[str | None, Arrays]] = {}

    def read(self, batch: str, what: str, version: str, names: Collection[str] = ()) -> Arrays | None:
        stored, arrays = self._arrays.get((batch, what), (None, {}))
        return {name: arrays[name] for name in names or arrays} if stored == version else None

    def write(self, batch: str, what: str, version: str, arrays: Arrays) -> None:
        self._arrays[batch, what] = (version, arrays)

    def keep_only(self, batches: Iterable[str], kinds: Collection[str]) -> None:
        kept = set(batches)
        self._arrays = {key: value for key, value in self._arrays.items() if key[0] in kept and key[1] in kinds}


class Store:
    """Files below `folder`, each written aside and renamed."""

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
            return None  # absent, or damaged: it is made again, and written over

    def write(self, batch: str, what: str, version: str, arrays: Arrays) -> None:
        from safetensors.numpy import save

        whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        write_bytes(self._path(batch, what), save(whole, {_VERSION: version}))

    def keep_only(self, batches: Iterable[str], kinds: Collection[str]) -> None:
        kept = {self._path(batch, what) for batch in batches for what in kinds}
        for path in set(self._folder.glob("*.safetensors")) - kept:
            path.unlink()

    def _path(self, batch: str, what: str) -> Path:
        return self._folder / f"{short(fingerprint_text(batch))}.{what}.safetensors"


def text_digests(texts: Sequence[str]) -> Hashes:
    """(texts, 2): 16 bytes of BLAKE2 of each."""
    digests = (hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest() for text in texts)
    return np.frombuffer(b"".join(digests), dtype="<u8").reshape(-1, 2)

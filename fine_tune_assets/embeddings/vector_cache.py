"""Caches the vectors of texts, because encoding dominates the time of semantic comparisons.

The file contains hashes and vectors only. A vector can be inverted into an approximation of its text (Morris et al. 2023), so
the file is as private as the text, and vectors that the last run did not use are removed.
"""

import io
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fine_tune_assets.core.files import make_folder, write_bytes
from fine_tune_assets.core.fingerprints import fingerprint_text

Floats = NDArray[np.float32]
Encode = Callable[[Sequence[str]], tuple[Floats, NDArray[np.int32]]]


class CachedEncoder:
    """Encodes each text once. A new `version` of the encoder discards the cache."""

    def __init__(self, encode: Encode, version: str, path: Path) -> None:
        self._encode, self._version, self._path = encode, version, path
        self._vectors = self._read()
        self._used: set[str] = set()

    def __call__(self, texts: Sequence[str]) -> tuple[Floats, NDArray[np.int32]]:
        keys = [fingerprint_text(text) for text in texts]
        new = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._vectors}
        vectors, counts = self._encode(list(new.values()))
        starts = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
        self._vectors |= {key: vectors[starts[n] : starts[n + 1]] for n, key in enumerate(new)}
        self._used |= set(keys)
        if new:
            self._write()  # at once, so that a killed run keeps its work
        if not keys:
            return vectors, counts
        found = [self._vectors[key] for key in keys]
        return np.concatenate(found), np.array([len(passages) for passages in found], np.int32)

    def remove_unused(self) -> None:
        """Remove vectors that this run did not use: of texts withheld, withdrawn or repaired since. A run that used none,
        because it failed earlier, removes nothing."""
        if self._used and self._vectors.keys() - self._used:
            self._vectors = {key: self._vectors[key] for key in self._used}
            self._write()

    def _read(self) -> dict[str, Floats]:
        try:
            with np.load(self._path, allow_pickle=False) as stored:
                if str(stored["version"]) != self._version:
                    return {}
                starts = np.concatenate(([0], np.cumsum(stored["counts"]))).astype(np.int64)
                vectors = stored["vectors"]
                return {str(key): vectors[starts[n] : starts[n + 1]] for n, key in enumerate(stored["keys"])}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):  # missing or truncated: recompute
            return {}

    def _write(self) -> None:
        vectors_by_key = dict(sorted(self._vectors.items()))
        content = io.BytesIO()
        np.savez(
            content,
            version=np.array(self._version),
            keys=np.array(list(vectors_by_key)),
            counts=np.array([len(passages) for passages in vectors_by_key.values()], np.int32),
            vectors=np.concatenate(list(vectors_by_key.values())),
        )
        make_folder(self._path.parent)
        write_bytes(self._path, content.getvalue())

"""Vectors of texts that were encoded before: encoding is nearly all of the work of comparing meanings.

Owns the one file, which holds what was asked for in the last run that ended. Hashes and vectors only; a vector can be turned
back into something like its text (Morris et al. 2023), so the file is guarded like the text, and what nobody asks for any more
leaves it.
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


class Remembered:
    """An encoder of passages that encodes each text once. Another version of the encoder starts anew."""

    def __init__(self, encode: Encode, version: str, path: Path) -> None:
        self._encode, self._version, self._path = encode, version, path
        self._known = self._read()
        self._asked: set[str] = set()

    def __call__(self, texts: Sequence[str]) -> tuple[Floats, NDArray[np.int32]]:
        keys = [fingerprint_text(text) for text in texts]
        new = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._known}
        vectors, counts = self._encode(list(new.values()))
        starts = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
        self._known |= {key: vectors[starts[n] : starts[n + 1]] for n, key in enumerate(new)}
        self._asked |= set(keys)
        if new:
            self._write()  # now: a run that is killed has not worked in vain
        if not keys:
            return vectors, counts
        found = [self._known[key] for key in keys]
        return np.concatenate(found), np.array([len(passages) for passages in found], np.int32)

    def forget_others(self) -> None:
        """Remove what this run did not ask for: texts that were held back, withdrawn or repaired since. A run that asked for
        nothing, since it failed before, removes nothing."""
        if self._asked and self._known.keys() - self._asked:
            self._known = {key: self._known[key] for key in self._asked}
            self._write()

    def _read(self) -> dict[str, Floats]:
        try:
            with np.load(self._path, allow_pickle=False) as stored:
                if str(stored["version"]) != self._version:
                    return {}
                starts = np.concatenate(([0], np.cumsum(stored["counts"]))).astype(np.int64)
                vectors = stored["vectors"]
                return {str(key): vectors[starts[n] : starts[n + 1]] for n, key in enumerate(stored["keys"])}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):  # not there, or cut off: it is made again
            return {}

    def _write(self) -> None:
        kept = dict(sorted(self._known.items()))
        content = io.BytesIO()
        np.savez(
            content,
            version=np.array(self._version),
            keys=np.array(list(kept)),
            counts=np.array([len(passages) for passages in kept.values()], np.int32),
            vectors=np.concatenate(list(kept.values())),
        )
        make_folder(self._path.parent)
        write_bytes(self._path, content.getvalue())

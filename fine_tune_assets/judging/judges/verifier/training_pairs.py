"""Encodes balanced pairs with their labels and their wrong words, for training."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fine_tune_assets.judging.judges.grades import SUPPORTS
from fine_tune_assets.judging.judges.statement_readers import Claim
from fine_tune_assets.judging.judges.verifier.pair_encoding import EncodedClaim, PairEncoder
from fine_tune_assets.judging.judges.verifier.training_data.balanced_pairs import Pair


@dataclass(frozen=True)
class EncodedPair:
    claim: EncodedClaim
    wrong: NDArray[np.float32]
    """For each of the statement's pieces 1 or 0, or -1 if unknown."""
    label: int


def encode_pair(encoder: PairEncoder, pair: Pair, passage_pieces: int) -> EncodedPair:
    claim = encoder.encode_claim(Claim(pair.record, pair.statement), passage_pieces)
    return EncodedPair(claim, _wrong_pieces(pair, claim.word_numbers), SUPPORTS.index(pair.label))


def _wrong_pieces(pair: Pair, words: Sequence[int]) -> NDArray[np.float32]:
    if pair.label == "supported":
        return np.zeros(len(words), dtype=np.float32)
    if not pair.wrong_words:
        return np.full(len(words), -1, dtype=np.float32)
    return np.array([float(word in pair.wrong_words) for word in words], dtype=np.float32)

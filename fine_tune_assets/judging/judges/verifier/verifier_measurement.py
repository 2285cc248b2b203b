"""Measures a verifier on reports that it was not trained on, for each kind of error, with the blind control beside it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Final

import numpy as np

from fine_tune_assets.core.progress import ignore_progress
from fine_tune_assets.judging.judges.statement_readers import Claim, StatementReader
from fine_tune_assets.judging.judges.verifier.training_data.balanced_pairs import BLIND_RECORD, Pair
from fine_tune_assets.judging.statistics.association import auroc

ALL_KINDS: Final = "all"


@dataclass(frozen=True)
class KindResult:
    """How well a reader tells right from wrong statements of one kind of error."""

    kind: str
    auroc: float | None
    """Probability that a right statement has a higher probability than a wrong one; None without both."""
    blind_auroc: float | None
    """The same with every record replaced; 0.5 if the statements alone tell nothing."""
    wrong: int
    """Wrong statements."""


def measure_kinds(reader: StatementReader, pairs: Sequence[Pair]) -> list[KindResult]:
    """One result per kind, then `all`."""
    scores = _read(reader, pairs)
    blind = _read(reader, [replace(pair, record=BLIND_RECORD) for pair in pairs])
    kinds = [*sorted({pair.kind for pair in pairs}), ALL_KINDS]
    return [
        KindResult(
            kind,
            _auroc_of(kind, pairs, scores),
            _auroc_of(kind, pairs, blind),
            sum(pair.label != "supported" for pair in pairs if kind in (pair.kind, ALL_KINDS)),
        )
        for kind in kinds
    ]


def _read(reader: StatementReader, pairs: Sequence[Pair]) -> list[float]:
    claims = [Claim(pair.record, pair.statement) for pair in pairs]
    return [reading.supported for reading in reader.read(claims, ignore_progress)]


def _auroc_of(kind: str, pairs: Sequence[Pair], scores: Sequence[float]) -> float | None:
    chosen = [(pair, score) for pair, score in zip(pairs, scores, strict=True) if kind in (pair.kind, ALL_KINDS)]
    found = auroc(
        np.array([score for pair, score in chosen if pair.label == "supported"]),
        np.array([score for pair, score in chosen if pair.label != "supported"]),
    )
    return round(found, 3) if isfinite(found) else None

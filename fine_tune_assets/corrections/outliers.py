"""How far a corrected answer is from every approved answer to the same task.

Owns the distance: 1 less the cosine of sentence embeddings. Does not know the encoder.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fine_tune_assets.embeddings.encoder import means_of

COMPARED = 500
"""Approved answers of a task that a correction is compared with, the first ones by id. More cost time in proportion."""
Encode = Callable[[Sequence[str]], tuple[NDArray[np.float32], NDArray[np.int32]]]
"""Texts → the vectors of all their passages, one text after the other, and how many passages each text has."""


def nearest_distances(
    corrections: Sequence[Mapping[str, Any]],
    approved: Sequence[Mapping[str, Any]],
    encode: Encode,
    minimum_examples: int,
) -> dict[str, float | None]:
    """Correction id → distance from the nearest approved output of its task, 0 to 2; None with too few to compare with."""
    outputs: dict[str, list[str]] = defaultdict(list)
    for row in sorted(approved, key=lambda row: str(row["example_id"])):
        outputs[row["task"]].append(row["output"])
    by_task: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in corrections:
        by_task[row["task"]].append(row)
    found: dict[str, float | None] = {row["correction_id"]: None for row in corrections}
    for task, rows in by_task.items():
        known = outputs[task]
        if len(known) >= minimum_examples:
            known_vectors = means_of(*encode(known[:COMPARED]))
            distances = 1 - (means_of(*encode([row["output"] for row in rows])) @ known_vectors.T).max(axis=1)
            found |= {row["correction_id"]: float(d) for row, d in zip(rows, distances, strict=True)}
    return found

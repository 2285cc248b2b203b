"""Chooses the general data and the replayed examples that are mixed into train.

The choice is seeded, proportional by kind and stable: a larger count extends the choice and removes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fine_tune_assets.core.errors import RecipeError
from fine_tune_assets.core.fingerprints import keyed_hash


@dataclass(frozen=True)
class BuildRules:
    """The recipe's rules for a set."""

    product_line: str
    """The name of the recipe."""
    system_prompt: str
    general_fraction: float
    """Share of the train split, like `replay_fraction`."""
    replay_fraction: float
    seed: int


@dataclass(frozen=True)
class MixCounts:
    general: int
    replayed: int


def count_mixed_in(rules: BuildRules, trained: int, replayed: int) -> MixCounts:
    """Rows to add to `trained` approved ones; the general share also counts `replayed` rows.

    Raises RecipeError if the fractions leave no room for approved examples.
    """
    own = 1 - rules.general_fraction - rules.replay_fraction
    if own <= 0:
        raise RecipeError("general_fraction and replay_fraction together must stay below 1.")
    general = (trained + replayed) * rules.general_fraction / (1 - rules.general_fraction)
    return MixCounts(round(general), round(trained * rules.replay_fraction / own))


def sample_by_kind(rows: pa.Table, kinds: Sequence[str], count: int, seed: int) -> list[int]:
    """Row numbers of at most `count` examples, with each kind in proportion to its size.

    `rows` has `example_id`, `fingerprint` and the columns `kinds`, whose values together are a kind. A keyed hash orders the
    examples of a kind and spreads them evenly between 0 and 1; the lowest positions are taken. Reads no other column, so that a
    million examples need little memory.
    """
    if count <= 0 or not rows.num_rows:
        return []
    key, ids, groups = str(seed).encode(), rows["example_id"], _number_kinds(rows.select(kinds))
    hashes = [
        pa.array([keyed_hash(key, one) for one in part.to_pylist()], pa.string()) for part in rows["fingerprint"].chunks
    ]
    order = _sort(pa.table({"group": groups, "hash": pa.chunked_array(hashes), "id": ids}))
    sizes, ordered = np.bincount(groups), groups[order]
    ranks = np.arange(len(ordered)) - np.searchsorted(ordered, ordered)
    positions = np.empty(len(ordered))
    positions[order] = (ranks + 0.5) / sizes[ordered]
    return [int(row) for row in _sort(pa.table({"position": positions, "id": ids}))[:count]]


def _number_kinds(columns: pa.Table) -> NDArray[np.int64]:
    """The number of each row's kind."""
    numbers = np.zeros(columns.num_rows, np.int64)
    for column in columns.columns:
        encoded = column.combine_chunks().dictionary_encode()
        numbers = numbers * len(encoded.dictionary) + encoded.indices.to_numpy()
    return np.unique(numbers, return_inverse=True)[1]


def _sort(keys: pa.Table) -> NDArray[np.int64]:
    """Row numbers in the order of all columns."""
    return np.asarray(pc.sort_indices(keys, sort_keys=[(name, "ascending") for name in keys.column_names]))

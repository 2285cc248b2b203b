"""Chooses the general data and the replayed examples that are mixed into train.

The choice is seeded, proportional by kind and stable: a larger count extends the choice and removes nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fine_tune_assets.core.errors import RecipeError
from fine_tune_assets.core.fingerprints import keyed_hash
from fine_tune_assets.recipes.schema import PREVIOUS_SET


@dataclass(frozen=True)
class BuildRules:
    """The recipe's rules for a set."""

    product_line: str
    """The name of the recipe."""
    system_prompt: str
    mix: Mapping[str, float]
    """Source → share of the train split."""
    seed: int

    @property
    def general_sources(self) -> list[str]:
        """Sorted, so that the order in the recipe does not matter."""
        return sorted(name for name, weight in self.mix.items() if name != PREVIOUS_SET and weight)


def count_mixed_in(mix: Mapping[str, float], trained: int, replayed: int) -> dict[str, int]:
    """Rows to take from each source for `trained` approved ones; the shares of general data also count `replayed` rows.

    Raises RecipeError if the weights leave no room for approved examples.
    """
    general, replay = sum(weight for name, weight in mix.items() if name != PREVIOUS_SET), mix.get(PREVIOUS_SET, 0.0)
    own = 1 - general - replay
    if own <= 0:
        raise RecipeError("The weights in mix together must stay below 1.")
    wanted = {name: round((trained + replayed) * weight / (1 - general)) for name, weight in mix.items()}
    return {**wanted, **({PREVIOUS_SET: round(trained * replay / own)} if PREVIOUS_SET in mix else {})}


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

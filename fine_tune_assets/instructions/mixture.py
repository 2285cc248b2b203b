"""Chooses what is mixed into train beside the approved examples: general data, and replayed examples of earlier sets.

Owns how many, and that a choice is seeded, fair to every kind and stable: more wanted rows add to the choice and take nothing
away. Does not know where rows come from.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fine_tune_assets.core.errors import RecipeError
from fine_tune_assets.core.fingerprints import keyed_hash

GENERAL_TASK = "general"


@dataclass(frozen=True)
class BuildRules:
    """What the recipe says about a set."""

    line: str
    """Product line: the name of the recipe."""
    system_prompt: str
    general_fraction: float
    """Of the train split, as is the other one."""
    replay_fraction: float
    seed: int


@dataclass(frozen=True)
class MixCounts:
    general: int
    replayed: int


def mix_counts(rules: BuildRules, trained: int, replayed: int) -> MixCounts:
    """Rows that the recipe asks for beside `trained` approved ones; general ones beside those that are `replayed`.

    Raises RecipeError if nothing of the train split would be left to the approved ones.
    """
    own = 1 - rules.general_fraction - rules.replay_fraction
    if own <= 0:
        raise RecipeError("general_fraction and replay_fraction together must stay below 1.")
    general = (trained + replayed) * rules.general_fraction / (1 - rules.general_fraction)
    return MixCounts(round(general), round(trained * rules.replay_fraction / own))


def as_general(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, "split": "train", "task": GENERAL_TASK, "is_general": True, "patient_key": None}


def choose(rows: Iterable[Mapping[str, Any]], by: Sequence[str], count: int, seed: int) -> list[dict[str, Any]]:
    """`count` rows, each kind by its share, or all that there are; rows with the same values in the columns `by` are of a kind.

    A keyed hash orders the rows of a kind, and each gets its place between 0 and 1; the lowest places of all are taken.
    """
    kinds: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        kinds.setdefault(tuple(row[name] for name in by), []).append(row)
    key = str(seed).encode()
    placed: list[tuple[float, str, Mapping[str, Any]]] = []
    for of_kind in kinds.values():
        hashed = sorted((keyed_hash(key, row["fingerprint"]), row["example_id"], row) for row in of_kind)
        placed += [((rank + 0.5) / len(of_kind), row_id, row) for rank, (_, row_id, row) in enumerate(hashed)]
    return [dict(row) for *_, row in sorted(placed, key=lambda item: item[:2])[:count]]

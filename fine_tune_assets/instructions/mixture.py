"""Chooses the general data and the replayed examples that are mixed into train.

The choice is seeded, proportional by kind and stable: a larger count extends the choice and removes nothing.
"""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from fine_tune_assets.core.errors import RecipeError
from fine_tune_assets.core.fingerprints import keyed_hash
from fine_tune_assets.instructions.set_examples import SetExample
from fine_tune_assets.tables.instruction_rows import GeneralExample

AnyExample = TypeVar("AnyExample", GeneralExample, SetExample)


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


def sample_by_kind(
    examples: Iterable[AnyExample], kind: Callable[[AnyExample], Hashable], count: int, seed: int
) -> list[AnyExample]:
    """At most `count` examples, with each kind in proportion to its size.

    A keyed hash orders the examples of a kind and spreads them evenly between 0 and 1; the lowest positions are taken.
    """
    kinds: dict[Hashable, list[AnyExample]] = {}
    for example in examples:
        kinds.setdefault(kind(example), []).append(example)
    key = str(seed).encode()
    placed: list[tuple[float, str, AnyExample]] = []
    for of_kind in kinds.values():
        hashed = sorted((keyed_hash(key, one.fingerprint), one.example_id, one) for one in of_kind)
        placed += [((rank + 0.5) / len(of_kind), one_id, one) for rank, (_, one_id, one) in enumerate(hashed)]
    return [one for *_, one in sorted(placed, key=lambda item: item[:2])[:count]]

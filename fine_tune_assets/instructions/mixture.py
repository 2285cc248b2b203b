"""Chooses what is mixed into train beside the approved examples: general data, and replayed examples of earlier sets.

Owns how many, and that a choice is seeded, fair to every kind and stable: more wanted rows add to the choice and take nothing
away. Does not know where rows come from.
"""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from fine_tune_assets.core.errors import RecipeError
from fine_tune_assets.core.fingerprints import keyed_hash
from fine_tune_assets.instructions.set_examples import SetExample
from fine_tune_assets.tables.instructions import GeneralExample

AnyExample = TypeVar("AnyExample", GeneralExample, SetExample)


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


def choose(
    examples: Iterable[AnyExample], kind_of: Callable[[AnyExample], Hashable], count: int, seed: int
) -> list[AnyExample]:
    """`count` examples, each kind by its share, or all that there are.

    A keyed hash orders the examples of a kind, and each gets its place between 0 and 1; the lowest places of all are taken.
    """
    kinds: dict[Hashable, list[AnyExample]] = {}
    for example in examples:
        kinds.setdefault(kind_of(example), []).append(example)
    key = str(seed).encode()
    placed: list[tuple[float, str, AnyExample]] = []
    for of_kind in kinds.values():
        hashed = sorted((keyed_hash(key, one.fingerprint), one.example_id, one) for one in of_kind)
        placed += [((rank + 0.5) / len(of_kind), one_id, one) for rank, (_, one_id, one) in enumerate(hashed)]
    return [one for *_, one in sorted(placed, key=lambda item: item[:2])[:count]]

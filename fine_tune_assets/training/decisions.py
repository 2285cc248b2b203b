"""Whether a training is due, and whether it taught its model anything: pure decisions."""

from enum import Enum

import pyarrow as pa
import pyarrow.compute as pc

from fine_tune_assets.core.errors import GateClosedError, materialize_hint
from fine_tune_assets.tables.training import Adapter


class Due(Enum):
    """When a training is due."""

    NOT = "not"
    NEXT = "next"
    """When the candidate before it has come to its end."""
    NOW = "now"
    """Also in place of a candidate: it was made otherwise, or of what should not have been learned."""


def due(
    *,
    new_examples: int,
    minimum_new_examples: int,
    new_corrections: int,
    minimum_new_corrections: int,
    is_base_changed: bool,
    is_recipe_changed: bool,
    has_learned_misses: bool,
    is_set_erased: bool,
    has_revoked: bool,
) -> Due:
    """Due by enough new examples or enough new ones from corrections, because an operator changed what is trained or how,
    because the last training's examples held an identifier that was missed, because a patient among them was erased, or because
    one of them is not approved any more: what was trained on such a set can't be judged or released."""
    is_changed = is_base_changed or is_recipe_changed or has_learned_misses or is_set_erased or has_revoked
    has_enough = new_examples >= minimum_new_examples or new_corrections >= minimum_new_corrections
    if is_changed:
        return Due.NOW
    return Due.NEXT if has_enough else Due.NOT


def count_new_examples(current: pa.Table, trained: pa.Table) -> int:
    """Training examples from reports and corrections that the last training did not have. Both: `instruction_sets`."""
    return len(_trained_fingerprints(current) - _trained_fingerprints(trained))


def count_new_corrections(current: pa.Table, trained: pa.Table, source: str) -> int:
    """Of these, those whose `source` is users' corrections."""
    of_corrections = current.filter(pc.equal(current.column("source"), source))
    return count_new_examples(of_corrections, trained)


def _trained_fingerprints(table: pa.Table) -> set[str]:
    is_own = pc.and_(pc.equal(table.column("split"), "train"), pc.invert(table.column("is_general")))
    return set(table.column("fingerprint").filter(is_own).to_pylist())


SMALLEST_CHANGE = 1e-4
"""Nats a token. Rounding to 16 bits makes 1e-6 to 4e-3 (docs/decisions/0002-merged-dtype.md), but base and adapter are in one
format here, where an adapter that changes nothing makes 0; the demo's makes about 1."""


class NothingLearnedError(GateClosedError):
    """The adapter answers as the base model does, or no better on examples that it did not see."""


def is_changed(divergence: float | None) -> bool:
    """`divergence`: KL from the base model in nats a token; None was not measured."""
    return divergence is not None and divergence >= SMALLEST_CHANGE


def has_better_loss(before: float, best: float) -> bool:
    return best < before


def require_learned(adapter: Adapter) -> None:
    """Raises NothingLearnedError."""
    if not is_changed(adapter.base_divergence):
        raise NothingLearnedError(
            "The adapter answers as the base model does, or nobody measured whether it does. If it was measured, raise the "
            f"learning rate in the recipe. {materialize_hint('adapters')}"
        )
    if not has_better_loss(adapter.first_validation_loss, adapter.best_validation_loss):
        raise NothingLearnedError(
            "Training did not lower the loss on examples that it did not see: there is nothing to judge. Change the learning "
            "rate or the number of epochs in the recipe, or add examples."
        )

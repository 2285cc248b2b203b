"""Decides whether a training is due, and whether it changed the model: pure functions."""

from enum import Enum

import pyarrow as pa
import pyarrow.compute as pc

from fine_tune_assets.core.errors import GateClosedError, materialize_hint
from fine_tune_assets.core.fingerprints import short
from fine_tune_assets.tables.training_rows import Adapter


class TrainingDue(Enum):
    """When a training is due."""

    NOT_DUE = "not"
    AFTER_CANDIDATE = "next"
    """After the current candidate is decided."""
    NOW = "now"
    """Even if a candidate is in flight: its inputs changed, or its training data had examples to be removed."""


def decide_due(
    *,
    new_examples: int,
    minimum_new_examples: int,
    new_corrections: int,
    minimum_new_corrections: int,
    is_base_changed: bool,
    is_recipe_changed: bool,
    has_missed_identifiers: bool,
    has_erased_subjects: bool,
    has_revoked_examples: bool,
) -> TrainingDue:
    """Due by enough new examples or corrections; because the base model or the recipe changed; or because the last training's
    examples contained a missed identifier, an erased subject or a revoked example, so that its adapter cannot be judged or
    released."""
    is_changed = (
        is_base_changed or is_recipe_changed or has_missed_identifiers or has_erased_subjects or has_revoked_examples
    )
    has_enough = new_examples >= minimum_new_examples or new_corrections >= minimum_new_corrections
    if is_changed:
        return TrainingDue.NOW
    return TrainingDue.AFTER_CANDIDATE if has_enough else TrainingDue.NOT_DUE


def count_new_examples(current: pa.Table, trained: pa.Table) -> int:
    """Training examples from reports and corrections that the last training did not have. Both: `instruction_sets`."""
    return len(_trained_fingerprints(current) - _trained_fingerprints(trained))


def count_new_corrections(current: pa.Table, trained: pa.Table, source: str) -> int:
    """The new examples with the given `source`, such as users' corrections."""
    corrections = current.filter(pc.equal(current.column("source"), source))
    return count_new_examples(corrections, trained)


def _trained_fingerprints(table: pa.Table) -> set[str]:
    is_own = pc.and_(pc.equal(table.column("split"), "train"), pc.invert(table.column("is_general")))
    return set(table.column("fingerprint").filter(is_own).to_pylist())


MINIMUM_DIVERGENCE = 1e-4
"""Nats per token. Rounding to 16 bits gives 1e-6 to 4e-3 (docs/decisions/0012-training.md), but here base and adapter have
the same format: an adapter without effect gives 0, the demo's about 1."""


class UnchangedAdapterError(GateClosedError):
    """The adapter answers like the base model, or no better on examples that it was not trained on."""


def is_changed(divergence: float | None) -> bool:
    """`divergence`: KL from the base model in nats per token; None if not measured."""
    return divergence is not None and divergence >= MINIMUM_DIVERGENCE


def has_lower_loss(before: float, best: float) -> bool:
    return best < before


def require_changed_adapter(adapter: Adapter) -> None:
    """Raises UnchangedAdapterError."""
    if not is_changed(adapter.base_kl_divergence):
        raise UnchangedAdapterError(
            f"Adapter {short(adapter.adapter_id)} answers like the base model, or its divergence was not measured. If it was, "
            f"raise training.learning_rate in the recipe. {materialize_hint('adapters')}"
        )
    if not has_lower_loss(adapter.first_validation_loss, adapter.best_validation_loss):
        raise UnchangedAdapterError(
            f"Adapter {short(adapter.adapter_id)} did not lower the validation loss. Change training.learning_rate or "
            "training.epochs in the recipe, or add examples."
        )

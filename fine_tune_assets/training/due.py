"""Whether a training is due: a pure decision from counts and comparisons."""

from enum import Enum

import pyarrow as pa
import pyarrow.compute as pc


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
    """Training examples from reports and corrections that the last training did not have. Both: INSTRUCTION_SETS."""
    return len(_trained_fingerprints(current) - _trained_fingerprints(trained))


def count_new_corrections(current: pa.Table, trained: pa.Table, source: str) -> int:
    """Of these, those whose `source` is users' corrections."""
    of_corrections = current.filter(pc.equal(current.column("source"), source))
    return count_new_examples(of_corrections, trained)


def _trained_fingerprints(table: pa.Table) -> set[str]:
    rows = table.select(["split", "is_general", "fingerprint"]).to_pylist()
    return {row["fingerprint"] for row in rows if row["split"] == "train" and not row["is_general"]}

"""Compares figures with the targets of the GPU proof. Pure: a missing figure gives None, never a pass."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

MEMORY_TOLERANCE = 0.05
"""Relative error of the planned peak memory."""
GATEWAY_SHARE = 0.95
"""Minimum share of the bare engine's tokens per second that the gateway passes on."""
P95_LIMIT = 1.5
"""Maximum factor by which trainings and judging may lengthen the 95th percentile of an answer's time."""


def relative_error(planned: float | None, measured: float | None) -> float | None:
    """Measured minus planned, relative to the plan."""
    return None if not planned or measured is None else measured / planned - 1


def is_within_plan(planned: float | None, measured: float | None, tolerance: float = MEMORY_TOLERANCE) -> bool | None:
    if not planned or measured is None:
        return None
    return abs(measured - planned) <= tolerance * planned


def ratio(one: float | None, other: float | None) -> float | None:
    return None if one is None or not other else one / other


def percentile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that at least this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None


def compare_trainings(cases: Mapping[str, Mapping[str, Any]]) -> dict[str, float | None]:
    """Ratios between the trainings of the slice `qlora`, whose parts are the keys."""

    def of(name: str, figure: str) -> float | None:
        return cases.get(name, {}).get(figure)

    return {
        "packed_to_padded_speed": ratio(of("qlora_packed", "tokens_per_second"), of("qlora", "tokens_per_second")),
        "checkpointed_to_stored_memory": ratio(of("qlora", "peak_bytes"), of("qlora_activations_stored", "peak_bytes")),
        "checkpointed_to_stored_speed": ratio(
            of("qlora", "tokens_per_second"), of("qlora_activations_stored", "tokens_per_second")
        ),
        "paged_to_plain_memory": ratio(of("qlora_paged_optimizer", "peak_bytes"), of("qlora", "peak_bytes")),
        "product_to_plain_trl_speed": ratio(
            of("qlora_packed", "tokens_per_second"), of("plain_trl_qlora", "tokens_per_second")
        ),
        "product_to_plain_trl_memory": ratio(of("qlora_packed", "peak_bytes"), of("plain_trl_qlora", "peak_bytes")),
        "unsloth_to_product_speed": ratio(of("unsloth_qlora", "tokens_per_second"), of("qlora", "tokens_per_second")),
    }

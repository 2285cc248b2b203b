"""Stage 6: where a finished training was told, and if nowhere, why.

Belongs here: what of an adapter and its recipe is told, and saying so to people. Must stay out: how MLflow is spoken to (see
`training/tracking.py`).
"""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from fine_tune_assets.core.fingerprints import short
from fine_tune_assets.defs.resources import Installation
from fine_tune_assets.training.tracking import Tracked, TrackedTraining, shown_uri, track

_TAGS = (
    "base_fingerprint", "instruction_set_fingerprint", "prompt_fingerprint", "recipe_fingerprint", "method",
)  # fmt: skip
_FIGURES = (
    "first_train_loss", "last_train_loss", "first_validation_loss", "best_validation_loss", "base_divergence", "rows_trained",
    "supervised_tokens", "steps", "tokens_per_second", "seconds", "peak_memory_bytes",
)  # fmt: skip


NOT_TOLD = "not told: "


def tell_tracking(
    context: dg.AssetExecutionContext,
    installation: Installation,
    trained: Mapping[str, Any],
    row: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """Metadata: where the event files lie and where the run is, or why there is none. `row`: of the table adapters.

    `settings`: what was trained with, which a plan and a sweep make another than the recipe's.
    """
    recipe, uri = installation.recipe, installation.settings.mlflow_uri
    told = TrackedTraining(
        experiment=recipe.name,
        adapter_id=trained["adapter_id"],
        params={**settings, "base_fingerprint": row["base_fingerprint"]},
        tags={**{name: str(row[name]) for name in _TAGS}, "base_model": recipe.base_model.name},
        curve=trained["curve"],
        figures={name: trained[name] for name in _FIGURES},
    )
    tracked = track(told, uri)
    if uri and tracked.run_id is None:
        context.log.warning(f"The training is stored, and MLflow was not told of it. {tracked.why_not}")
    events = installation.layout.tensorboard / short(trained["adapter_id"])
    return {"tensorboard": dg.MetadataValue.path(str(events)), "mlflow": _said(tracked, uri)}


def _said(tracked: Tracked, uri: str) -> str:
    return f"{NOT_TOLD}{tracked.why_not}" if tracked.run_id is None else f"run {tracked.run_id} at {shown_uri(uri)}"

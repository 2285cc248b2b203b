"""Stage 6: logs a finished training to MLflow. `training/tracking/mlflow_runs.py` decides what is sent and when."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.tables.training_rows import Adapter
from fine_tune_assets.training.tracking.mlflow_runs import TrackedTraining, redact_uri, track_training

NOT_TRACKED = "not tracked: "
_TAGS = (
    "base_fingerprint", "instruction_set_fingerprint", "prompt_fingerprint", "recipe_fingerprint", "method",
)  # fmt: skip
_METRICS = (
    "first_train_loss", "last_train_loss", "first_validation_loss", "best_validation_loss", "base_kl_divergence",
    "trained_row_count", "supervised_tokens", "steps", "tokens_per_second", "duration_seconds", "peak_memory_bytes",
)  # fmt: skip


def log_to_mlflow(
    context: dg.AssetExecutionContext,
    installation: Installation,
    trained: Mapping[str, Any],
    adapter: Adapter,
    settings: Mapping[str, Any],
) -> str:
    """Log a training to MLflow. Returns the run, or the reason why there is none.

    `settings`: the settings of this training; its batch size differs from the recipe's with `fit_batch_size`.
    """
    recipe, uri = installation.recipe, installation.settings.mlflow_uri
    training = TrackedTraining(
        experiment=recipe.name,
        adapter_id=trained["adapter_id"],
        params={**settings, "base_fingerprint": adapter.base_fingerprint},
        tags={**{name: str(getattr(adapter, name)) for name in _TAGS}, "base_model": recipe.base_model.name},
        curve=trained["curve"],
        metrics={name: trained[name] for name in _METRICS},
    )
    tracked = track_training(training, uri)
    if uri and tracked.run_id is None:
        context.log.warning(f"The training is stored, but was not logged to MLflow. {tracked.skip_reason}")
    if tracked.run_id is None:
        return f"{NOT_TRACKED}{tracked.skip_reason}"
    return f"run {tracked.run_id} at {redact_uri(uri)}"

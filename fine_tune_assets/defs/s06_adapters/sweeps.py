"""Stage 6: runs one training, or all trials of a sweep, of which the one with the best validation loss becomes the adapter.

Each trial runs in its own process and is tracked in MLflow. See `training/sweep_search.py` for the search and
`training/tracking/mlflow_runs.py` for the tracking.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa

from fine_tune_assets.core.fingerprints import short
from fine_tune_assets.defs.platform.dagster_compat.private_names import DagsterPipesExecutionError
from fine_tune_assets.defs.platform.metadata import markdown_table
from fine_tune_assets.defs.platform.resources import Installation, Worker, WorkerCrash, WorkerError, user_facing_errors
from fine_tune_assets.lineage.training_runs import record_training_run
from fine_tune_assets.tables.record_classes import table_from_records
from fine_tune_assets.tables.training_rows import Adapter, ExampleLength, SweepTrial
from fine_tune_assets.training.failures import InfeasibleSettingsError
from fine_tune_assets.training.supervision.preflight_checks import list_too_long, require_rows_trained
from fine_tune_assets.training.sweep_search import MAX_KILLS, Sweep, Trial, sweep_key
from fine_tune_assets.training.tracking.mlflow_runs import TrackedTraining, redact_uri, track_training

NOT_TRACKED = "not tracked: "
_KILLED_REASON = f"Its process was killed {MAX_KILLS} times. The usual cause is insufficient memory."
_TAGS = (
    "base_fingerprint", "instruction_set_fingerprint", "prompt_fingerprint", "recipe_fingerprint", "method",
)  # fmt: skip
_METRICS = (
    "first_train_loss", "last_train_loss", "first_validation_loss", "best_validation_loss", "base_kl_divergence",
    "trained_row_count", "supervised_tokens", "steps", "tokens_per_second", "duration_seconds", "peak_memory_bytes",
)  # fmt: skip


class TrainingRunner:
    """Runs the training that `request` describes, or every unfinished trial of the recipe's sweep."""

    def __init__(
        self,
        context: dg.AssetExecutionContext,
        installation: Installation,
        worker: Worker,
        request: dict[str, Any],
        python: Path,
        instruction_set_fingerprint: str,
        lengths: Sequence[ExampleLength],
    ) -> None:
        """`python`: the interpreter for the training. `lengths`: show which examples are excluded."""
        self._context, self._worker, self._request, self._python = context, worker, request, python
        self._installation, self._set, self._lengths = installation, instruction_set_fingerprint, lengths
        self._trials: list[Trial] = []
        self._chosen: Trial | None = None
        self.sweep: str | None = None
        """Name of the sweep; None until it has run."""

    def run(self) -> dict[str, Any]:
        """Returns the trainer's result; for a sweep, the result of the chosen trial, whose adapter is published."""
        recipe, layout = self._installation.recipe, self._installation.layout
        if recipe.sweep is None:
            return self._worker.run_local_or_cluster(self._context, "training", self._request, self._python)
        key = sweep_key(self._set, self._request["base_fingerprint"], recipe.training, recipe.sweep)
        sweep, self.sweep = Sweep(layout.sweeps, key, recipe.sweep), key
        while (trial := sweep.next_trial()) is not None:
            done = sum(t.is_ended for t in sweep.trials)
            self._context.log.info(
                f"{done} of {recipe.sweep.trial_count} trials, next {_format_parameters(trial.parameters)}"
            )
            sweep.end_trial(self._run_trial(sweep, trial))
        with user_facing_errors():
            best = sweep.choose_trial()
        if not sweep.has_weights(best, layout.adapters):
            self._context.log.warning(f"The weights of trial {best.number} no longer exist. Training it again.")
            sweep.save_trial(best := replace(best, result=self._train_once(sweep, best)))
        with user_facing_errors():
            folder = sweep.publish(best, self._set, layout.adapters)
        self._trials, self._chosen = sweep.trials, best
        if recipe.sweep.keep_adapters:
            for trial in self._trials:
                if trial.adapter_id is not None:
                    record_training_run(layout.adapters, trial.adapter_id, self._set, list_too_long(self._lengths))
        return {**(best.result or {}), "folder": str(folder), "rows_too_long": list_too_long(self._lengths)}

    def trial_table(self, chosen_adapter: str) -> pa.Table:
        """The rows of `sweep_trials`: settings, loss, or the reason of a failure. Empty without a sweep."""
        return table_from_records(SweepTrial, trial_rows(self.sweep or "", self._trials, chosen_adapter))

    def track_runs(self, adapter: Adapter, trained: Mapping[str, Any]) -> dict[str, Any]:
        """Log each training to MLflow and return metadata."""
        changed, settings = self._chosen.parameters if self._chosen else {}, self._request["settings"]
        shown = log_to_mlflow(self._context, self._installation, trained, adapter, {**settings, **changed})
        if self._chosen is None:
            return shown
        for trial in self._trials:
            is_other = trial.result is not None and trial.adapter_id != trained["adapter_id"]
            if is_other and not shown["mlflow"].startswith(NOT_TRACKED):
                trial_settings = {**settings, **trial.parameters}
                log_to_mlflow(self._context, self._installation, trial.result or {}, adapter, trial_settings)
        return {**shown, "sweep": _trial_table(trial_rows(self.sweep or "", self._trials, trained["adapter_id"]))}

    def _run_trial(self, sweep: Sweep, trial: Trial) -> Trial:
        """Run a trial and return it with its result or failure reason.

        Errors that its settings did not cause end the sweep, which can be resumed.
        """
        while trial.kills < MAX_KILLS:
            try:
                return replace(trial, result=self._train_once(sweep, trial))
            except WorkerError as error:
                if error.kind != InfeasibleSettingsError.__name__:
                    raise
                self._context.log.warning(f"Trial {trial.number} failed. {error.message}")
                return replace(trial, reason=error.message)
            except (DagsterPipesExecutionError, WorkerCrash):
                trial = replace(trial, kills=trial.kills + 1)
                sweep.save_trial(trial)
                self._context.log.warning(f"The process of trial {trial.number} was killed. Resuming the trial.")
        return replace(trial, reason=_KILLED_REASON)

    def _train_once(self, sweep: Sweep, trial: Trial) -> dict[str, Any]:
        settings = {**self._request["settings"], **trial.parameters}
        request = {**self._request, "settings": settings, "adapters_dir": str(sweep.adapters)}
        result = self._worker.run_local_or_cluster(self._context, "training", request, self._python)
        with user_facing_errors():
            require_rows_trained(self._lengths, result["rows_too_long"])
        # Without example ids, which an erasure would have to remove from the record.
        return {name: value for name, value in result.items() if name != "rows_too_long"}


def log_to_mlflow(
    context: dg.AssetExecutionContext,
    installation: Installation,
    trained: Mapping[str, Any],
    adapter: Adapter,
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """Log a training to MLflow. Returns metadata: the folder of event files, and the run or the reason why there is none.

    `settings`: the settings of this training, which differ from the recipe's after a plan or a sweep.
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
    events = installation.layout.tensorboard / short(trained["adapter_id"])
    mlflow = (
        f"{NOT_TRACKED}{tracked.skip_reason}"
        if tracked.run_id is None
        else f"run {tracked.run_id} at {redact_uri(uri)}"
    )
    return {"tensorboard": dg.MetadataValue.path(str(events)), "mlflow": mlflow}


def trial_rows(sweep: str, trials: Sequence[Trial], chosen_adapter: str) -> list[SweepTrial]:
    chosen = next((trial.number for trial in trials if trial.adapter_id == chosen_adapter), None)
    return [
        SweepTrial(
            sweep=sweep,
            trial_number=trial.number,
            parameters=json.dumps(trial.parameters, sort_keys=True),
            state="failed" if trial.result is None else "finished",
            is_chosen=trial.number == chosen,
            first_validation_loss=trial.result["first_validation_loss"] if trial.result else None,
            best_validation_loss=trial.result["best_validation_loss"] if trial.result else None,
            duration_seconds=trial.result["duration_seconds"] if trial.result else None,
            adapter_id=trial.adapter_id,
            failure_reason=trial.reason,
        )
        for trial in trials
    ]


def _trial_table(trials: Sequence[SweepTrial]) -> dg.MarkdownMetadataValue:
    """The trials without the sweep's name, which is the same in each row."""
    return markdown_table([{k: v for k, v in trial.to_row().items() if k != "sweep"} for trial in trials])


def _format_parameters(parameters: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in parameters.items())

"""Stage 6: one training, or the trials of a sweep, of which the best on validation becomes the adapter.

Belongs here: running each trial as a process of its own, what is kept and shown of it, and where it was told. Must stay out:
which settings are tried (see `training/sweeps.py`), and how MLflow is spoken to (see `training/tracking/mlflow_runs.py`).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
from dagster._core.errors import DagsterPipesExecutionError

from fine_tune_assets.core.fingerprints import fingerprint_table, short
from fine_tune_assets.defs.platform.automation import on_new_inputs
from fine_tune_assets.defs.platform.metadata import OWNERS, definition_metadata, markdown_table, result
from fine_tune_assets.defs.platform.resources import Installation, Worker, WorkerDied, WorkerRefusal, errors_for_people
from fine_tune_assets.lineage.trainings import record_training
from fine_tune_assets.tables.records import only_record, table_from
from fine_tune_assets.tables.training import Adapter, ExampleLength, SweepTrial
from fine_tune_assets.training.failures import UnfitSettingsError
from fine_tune_assets.training.supervision.preflight import require_rows_trained, too_long
from fine_tune_assets.training.sweeps import DEATHS, Sweep, Trial, read_sweep, sweep_key
from fine_tune_assets.training.tracking.mlflow_runs import TrackedTraining, shown_uri, track

GROUP = "s06_adapters"
NOT_TOLD = "not told: "
_KILLED = f"Its process was killed {DEATHS} times: most often for want of memory."
_TAGS = (
    "base_fingerprint", "instruction_set_fingerprint", "prompt_fingerprint", "recipe_fingerprint", "method",
)  # fmt: skip
_FIGURES = (
    "first_train_loss", "last_train_loss", "first_validation_loss", "best_validation_loss", "base_divergence", "rows_trained",
    "supervised_tokens", "steps", "tokens_per_second", "seconds", "peak_memory_bytes",
)  # fmt: skip


class Trainings:
    """Starts what `request` asks for: one training, or every trial of the recipe's sweep that is not over yet."""

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
        """`python`: the interpreter that trains. `lengths` say what is left out."""
        self._context, self._worker, self._request, self._python = context, worker, request, python
        self._installation, self._set, self._lengths = installation, instruction_set_fingerprint, lengths
        self._trials: list[Trial] = []
        self._chosen: Trial | None = None
        self.sweep: str | None = None
        """Name of the sweep, once it ran."""

    def run(self) -> dict[str, Any]:
        """The trainer's result. Of a sweep: the chosen trial's, stored where adapters lie."""
        recipe, layout = self._installation.recipe, self._installation.layout
        if recipe.sweep is None:
            return self._worker.run_where_set(self._context, "training", self._request, self._python)
        key = sweep_key(self._set, self._request["base_fingerprint"], recipe.training, recipe.sweep)
        sweep, self.sweep = Sweep(layout.sweeps, key, recipe.sweep), key
        while (trial := sweep.next_trial()) is not None:
            done = sum(t.is_over for t in sweep.trials)
            self._context.log.info(f"{done} of {recipe.sweep.wanted} trials, next {_named(trial.parameters)}")
            sweep.end(self._train(sweep, trial))
        with errors_for_people():
            best = sweep.chosen()
        if not sweep.has_weights(best, layout.adapters):
            self._context.log.warning(f"The weights of trial {best.number} are gone: it is trained again.")
            sweep.keep(best := replace(best, result=self._once(sweep, best)))
        with errors_for_people():
            folder = sweep.publish(best, self._set, layout.adapters)
        self._trials, self._chosen = sweep.trials, best
        if recipe.sweep.keep_adapters:
            for trial in self._trials:
                if trial.adapter_id is not None:
                    record_training(layout.adapters, trial.adapter_id, self._set, too_long(self._lengths))
        return {**(best.result or {}), "folder": str(folder), "rows_too_long": too_long(self._lengths)}

    def tell(self, adapter: Adapter, trained: Mapping[str, Any]) -> dict[str, Any]:
        """Tell the tracking of each training, and metadata of it."""
        changed, settings = self._chosen.parameters if self._chosen else {}, self._request["settings"]
        shown = tell_tracking(self._context, self._installation, trained, adapter, {**settings, **changed})
        if self._chosen is None:
            return shown
        for trial in self._trials:
            is_other = trial.result is not None and trial.adapter_id != trained["adapter_id"]
            if is_other and not shown["mlflow"].startswith(NOT_TOLD):
                learned = {**settings, **trial.parameters}
                tell_tracking(self._context, self._installation, trial.result or {}, adapter, learned)
        return {**shown, "sweep": _shown(trial_rows(self.sweep or "", self._trials, trained["adapter_id"]))}

    def _train(self, sweep: Sweep, trial: Trial) -> Trial:
        """The trial with what came of it. Raises what is no fault of its settings: that ends the sweep, which can go on."""
        while trial.deaths < DEATHS:
            try:
                return replace(trial, result=self._once(sweep, trial))
            except WorkerRefusal as error:
                if error.kind != UnfitSettingsError.__name__:
                    raise
                self._context.log.warning(f"Trial {trial.number} failed. {error.said}")
                return replace(trial, why=error.said)
            except (DagsterPipesExecutionError, WorkerDied):
                trial = replace(trial, deaths=trial.deaths + 1)
                sweep.keep(trial)
                self._context.log.warning(f"The process of trial {trial.number} was killed; it goes on.")
        return replace(trial, why=_KILLED)

    def _once(self, sweep: Sweep, trial: Trial) -> dict[str, Any]:
        settings = {**self._request["settings"], **trial.parameters}
        request = {**self._request, "settings": settings, "adapters_dir": str(sweep.adapters)}
        result = self._worker.run_where_set(self._context, "training", request, self._python)
        with errors_for_people():
            require_rows_trained(self._lengths, result["rows_too_long"])
        # Without the ids of examples: an erasure would have to find them in the record.
        return {name: value for name, value in result.items() if name != "rows_too_long"}


def tell_tracking(
    context: dg.AssetExecutionContext,
    installation: Installation,
    trained: Mapping[str, Any],
    adapter: Adapter,
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """Metadata: where the event files lie and where the run is, or why there is none.

    `settings`: what was trained with, which a plan and a sweep make another than the recipe's.
    """
    recipe, uri = installation.recipe, installation.settings.mlflow_uri
    told = TrackedTraining(
        experiment=recipe.name,
        adapter_id=trained["adapter_id"],
        params={**settings, "base_fingerprint": adapter.base_fingerprint},
        tags={**{name: str(getattr(adapter, name)) for name in _TAGS}, "base_model": recipe.base_model.name},
        curve=trained["curve"],
        figures={name: trained[name] for name in _FIGURES},
    )
    tracked = track(told, uri)
    if uri and tracked.run_id is None:
        context.log.warning(f"The training is stored, and MLflow was not told of it. {tracked.why_not}")
    events = installation.layout.tensorboard / short(trained["adapter_id"])
    said = f"{NOT_TOLD}{tracked.why_not}" if tracked.run_id is None else f"run {tracked.run_id} at {shown_uri(uri)}"
    return {"tensorboard": dg.MetadataValue.path(str(events)), "mlflow": said}


@dg.asset(
    group_name=GROUP,
    automation_condition=on_new_inputs(),
    description="Every training of the sweep that the adapter was chosen in: its settings, its loss, or why it failed. Empty "
    "if the recipe has no sweep.",
    owners=OWNERS["ml"],
    kinds={"parquet"},
    metadata=definition_metadata("sweep_trials"),
)
def sweep_trials(installation: Installation, adapters: pa.Table) -> dg.MaterializeResult[pa.Table]:
    adapter = only_record(Adapter, adapters)
    name = adapter.sweep or ""
    trials = trial_rows(name, read_sweep(installation.layout.sweeps, name) if name else [], adapter.adapter_id)
    table = table_from(SweepTrial, trials)
    failed = sum(trial.state == "failed" for trial in trials)
    # Seconds differ from run to run; what was found does not.
    version = fingerprint_table(table.drop_columns(["seconds"]))
    return result(
        "sweep_trials",
        table,
        version,
        trials=_shown(trials),
        failed=failed,
    )


def trial_rows(sweep: str, trials: Sequence[Trial], chosen_adapter: str) -> list[SweepTrial]:
    chosen = next((trial.number for trial in trials if trial.adapter_id == chosen_adapter), None)
    return [
        SweepTrial(
            sweep=sweep,
            trial=trial.number,
            parameters=json.dumps(trial.parameters, sort_keys=True),
            state="failed" if trial.result is None else "finished",
            is_chosen=trial.number == chosen,
            first_validation_loss=trial.result["first_validation_loss"] if trial.result else None,
            best_validation_loss=trial.result["best_validation_loss"] if trial.result else None,
            seconds=trial.result["seconds"] if trial.result else None,
            adapter_id=trial.adapter_id,
            why=trial.why,
        )
        for trial in trials
    ]


def _shown(trials: Sequence[SweepTrial]) -> dg.MarkdownMetadataValue:
    """Without the sweep's name, which is the same in each row."""
    return markdown_table([{k: v for k, v in trial.as_row().items() if k != "sweep"} for trial in trials])


def _named(parameters: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in parameters.items())

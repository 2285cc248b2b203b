"""Stage 7, the shadow adapter: a training like the candidate's, on part of its examples and on canaries.

Belongs here: training it in a scratch folder, for as long as it is asked, and never where adapters lie that can be released. Must
stay out: what is planted, and what it gives away (see `judging/`).
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import dagster as dg
import pyarrow as pa

from fine_tune_assets.core.errors import GateClosedError, materialize_hint
from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.fingerprints import fingerprint_json, fingerprint_table
from fine_tune_assets.defs.platform.automation import latest_event
from fine_tune_assets.defs.platform.resources import Installation, Worker, errors_for_people, started_again_when_killed
from fine_tune_assets.defs.s06_adapters.adapters import TRAINED_BY
from fine_tune_assets.judging.memorization.canaries import plant, shadow_set
from fine_tune_assets.recipes.schema import CanarySettings, Recipe
from fine_tune_assets.recipes.sections import section_fingerprints
from fine_tune_assets.tables.instructions import CANARY
from fine_tune_assets.tables.training import Adapter, BaseModel
from fine_tune_assets.training.checkpoints import TRAINER
from fine_tune_assets.training.environments import require_environment
from fine_tune_assets.training.sweeps import read_sweep


@dataclass(frozen=True)
class Shadow:
    """What a shadow adapter is to be trained on, and how."""

    rows: pa.Table
    settings: dict[str, Any]
    bound_to: str
    """Fingerprint of all that decides what it will have learned, and what it is asked."""


def plan_shadow(
    installation: Installation, adapter: Adapter, canaries: CanarySettings, instruction_set: pa.Table
) -> Shadow:
    """`instruction_set`: that of the adapter."""
    recipe = installation.recipe
    rows = shadow_set(instruction_set, plant(canaries, *prompts_of(recipe)), canaries)
    settings = {**asdict(recipe.training), **_chosen_in_sweep(installation, adapter)}
    if recipe.training.fit_batch_size:
        # What the plan found for the real set may not fit these rows; one at a time does, and a step learns from as many.
        step = settings["batch_size"] * settings["gradient_accumulation"]
        settings |= {"batch_size": 1, "gradient_accumulation": step}
    decisive = [TRAINER, fingerprint_table(rows), adapter.base_fingerprint, settings, asdict(canaries)]
    return Shadow(rows, settings, fingerprint_json(decisive))


def prompts_of(recipe: Recipe) -> tuple[str, list[str]]:
    """System prompt and instructions: the form that canaries take."""
    return recipe.system_prompt, [task.instruction for task in recipe.tasks]


def require_same_training(instance: dg.DagsterInstance, recipe: Recipe) -> None:
    """Raise GateClosedError unless the adapter was trained by the recipe of now: a shadow of another training shows nothing."""
    last = latest_event(instance, dg.AssetKey("adapters"))
    if last is None or last.tags.get(TRAINED_BY) != section_fingerprints(recipe)["training"]:
        raise GateClosedError(
            "The adapter was not trained by the recipe's present training settings, so a shadow adapter would show nothing. "
            + materialize_hint("adapters")
        )


def _chosen_in_sweep(installation: Installation, adapter: Adapter) -> dict[str, Any]:
    """What the adapter's own trial changed of the recipe's settings."""
    name = adapter.sweep
    trials = read_sweep(installation.layout.sweeps, name) if name else []
    chosen = [trial.parameters for trial in trials if trial.adapter_id == adapter.adapter_id]
    if name and not chosen:
        raise GateClosedError(
            "The trial of the sweep that the adapter came from is gone, and with it its settings. "
            + materialize_hint("adapters")
        )
    return dict(chosen[0]) if chosen else {}


@contextmanager
def trained_shadow(
    context: dg.AssetExecutionContext,
    installation: Installation,
    worker: Worker,
    shadow: Shadow,
    base: BaseModel,
) -> Iterator[dict[str, str]]:
    """Folder and id of the shadow adapter. All that was made for it is gone at the end: it learned from patients."""
    settings, training = installation.settings, installation.recipe.training
    with errors_for_people():
        python = require_environment(training.engine, settings.unsloth_interpreter, bool(settings.ray.address))
    with installation.scratch(context, "instruction_set") as (rows,):
        write_table(rows, shadow.rows)
        folder = rows.with_name("shadow")
        request = {
            "action": "train",
            "instruction_set": str(rows),
            "base_folder": str(installation.path(base.folder)),
            "base_fingerprint": base.fingerprint,
            "adapters_dir": str(folder / "adapters"),
            # Not where the candidates' are: a training removes what another one left there.
            "checkpoints_dir": str(folder / "checkpoints"),
            "tensorboard_dir": str(folder / "tensorboard"),
            "settings": shadow.settings,
            "threads": settings.threads,
        }
        try:
            with started_again_when_killed():
                trained = worker.run_where_set(context, "training", request, python)
            with errors_for_people():
                _require_canaries_trained(trained["rows_too_long"])
            yield {"shadow_folder": str(trained["folder"]), "shadow_id": trained["adapter_id"]}
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _require_canaries_trained(too_long: list[str]) -> None:
    left_out = sum(example_id.startswith(CANARY) for example_id in too_long)
    if left_out:
        raise GateClosedError(
            f"{left_out} canaries are longer than training.max_length and were not trained on: nothing can be said of what is "
            "learned by heart. Raise training.max_length, or shorten the system prompt or the tasks' instructions."
        )

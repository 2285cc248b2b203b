"""Stage 7: trains a shadow adapter like the candidate, on part of its examples and on planted secrets.

The shadow adapter exists only in a scratch folder during the attack, so that it can never be released.
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
from fine_tune_assets.core.processes.worker_requests import ShadowFields, TrainRequest
from fine_tune_assets.defs.platform.asset_keys import asset_key
from fine_tune_assets.defs.platform.automation import CODE_VERSION, latest_event
from fine_tune_assets.defs.platform.recipe_versions import section_version, training_version
from fine_tune_assets.defs.platform.resources import Installation, Worker, retry_when_killed, user_facing_errors
from fine_tune_assets.judging.memorization.planted_secrets import build_shadow_set, plant_secrets
from fine_tune_assets.recipes.schema import PlantedSecretSettings, Recipe
from fine_tune_assets.tables.instruction_rows import PLANTED_SECRET
from fine_tune_assets.tables.training_rows import Adapter, BaseModel
from fine_tune_assets.training.checkpoints import TRAINER_VERSION
from fine_tune_assets.training.environments import require_environment

_SECRET_INSTRUCTION = "Record the complaint."
"""For tasks whose instruction comes from the rows of a data set."""


@dataclass(frozen=True)
class ShadowPlan:
    """The rows and settings of a shadow training."""

    rows: pa.Table
    settings: dict[str, Any]
    shadow_fingerprint: str
    """Fingerprint of everything that determines its weights and the attack."""


def plan_shadow(
    installation: Installation, adapter: Adapter, secrets: PlantedSecretSettings, instruction_set: pa.Table
) -> ShadowPlan:
    """`instruction_set`: the set that the adapter was trained on."""
    recipe = installation.recipe
    rows = build_shadow_set(instruction_set, plant_secrets(secrets, *planting_prompts(recipe)), secrets)
    settings = asdict(recipe.training)
    if recipe.training.fit_batch_size:
        # The planned batch size may not fit these rows. Batch size 1 does, with the same number of rows per step.
        step = settings["batch_size"] * settings["gradient_accumulation"]
        settings |= {"batch_size": 1, "gradient_accumulation": step}
    decisive = [TRAINER_VERSION, fingerprint_table(rows), adapter.base_fingerprint, settings, asdict(secrets)]
    return ShadowPlan(rows, settings, fingerprint_json(decisive))


def planting_prompts(recipe: Recipe) -> tuple[str, list[str]]:
    """System prompt and instructions, which planted secrets are formatted with."""
    return recipe.system_prompt, [task.instruction or _SECRET_INSTRUCTION for task in recipe.tasks]


def require_same_training(instance: dg.DagsterInstance, recipe: Recipe) -> None:
    """Raise GateClosedError unless the adapter was trained with the current settings, which the shadow adapter uses."""
    last = latest_event(instance, asset_key("adapters"))
    if last is None or section_version(last.tags.get(CODE_VERSION), "training") != training_version(recipe):
        raise GateClosedError(
            "The adapter was trained with other settings than the recipe's current ones, so memorization can't be measured with "
            "a shadow adapter. " + materialize_hint("adapters")
        )


@contextmanager
def train_shadow(
    context: dg.AssetExecutionContext,
    installation: Installation,
    worker: Worker,
    shadow: ShadowPlan,
    base: BaseModel,
) -> Iterator[ShadowFields]:
    """The shadow adapter. All its files are removed at the end, since it was trained on subjects' data."""
    settings, training = installation.settings, installation.recipe.training
    with user_facing_errors():
        python = require_environment(training.engine, settings.unsloth_interpreter, bool(settings.ray.address))
    with installation.scratch(context, "instruction_set") as (rows,):
        write_table(rows, shadow.rows)
        folder = rows.with_name("shadow")
        request: TrainRequest = {
            "action": "train",
            "instruction_set": str(rows),
            "base_folder": str(installation.path(base.folder)),
            "base_fingerprint": base.fingerprint,
            "adapters_dir": str(folder / "adapters"),
            # Not in the candidates' folder, since a training removes the checkpoints of others there.
            "checkpoints_dir": str(folder / "checkpoints"),
            "settings": shadow.settings,
            "threads": settings.threads,
        }
        try:
            with retry_when_killed():
                trained = worker.run_local_or_cluster(context, "training", request, python)
            with user_facing_errors():
                _require_secrets_trained(trained["rows_too_long"])
            yield {"folder": str(trained["folder"]), "adapter_id": trained["adapter_id"]}
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _require_secrets_trained(too_long: list[str]) -> None:
    excluded = sum(example_id.startswith(PLANTED_SECRET) for example_id in too_long)
    if excluded:
        raise GateClosedError(
            f"{excluded} planted secrets are longer than training.max_length and were not trained on, so memorization can't be "
            "measured. Raise training.max_length, or shorten the system prompt or the tasks' instructions."
        )

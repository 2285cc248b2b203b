"""Stage 6: base models and the adapters trained on them.

Belongs here: when training is due, and starting it. Must stay out: how a model is trained (see `training/`).
"""

from dataclasses import asdict
from typing import Any

import dagster as dg
import pyarrow as pa
from dagster import AutomationCondition as AC

from fine_tune_assets.core.chat import prompt_fingerprint
from fine_tune_assets.core.fingerprints import combine, fingerprint_json, fingerprint_table, short
from fine_tune_assets.core.settings import load_settings
from fine_tune_assets.core.tables import ADAPTERS, BASE_MODELS, table_of
from fine_tune_assets.defs.automation import (
    INPUT_VERSION,
    InputsDiffer,
    InputsPresent,
    inputs_are_final,
    latest_event,
    on_new_inputs,
    quiet,
)
from fine_tune_assets.defs.metadata import OWNERS, definition_metadata, result
from fine_tune_assets.defs.resources import Installation, Worker, errors_for_people
from fine_tune_assets.defs.sources import base_model_files, recipe_part
from fine_tune_assets.instructions.storing import read_instruction_set
from fine_tune_assets.recipes.sections import section_fingerprints
from fine_tune_assets.training.base_models import read_chat_template
from fine_tune_assets.training.due import count_new_examples, is_training_due

GROUP = "s06_adapters"
GPU = "gpu"
"""Pool with one slot: training, judging and merging take turns on the one card."""


@dg.asset(
    group_name=GROUP,
    deps=[base_model_files, recipe_part("base_model")],
    automation_condition=on_new_inputs(),
    description="The open-weight model that is fine-tuned: a checked local folder, with its source, hash and licence.",
    owners=OWNERS["ml"],
    kinds={"huggingface"},
    metadata=definition_metadata("base_models"),
)
def base_models(
    context: dg.AssetExecutionContext, installation: Installation, worker: Worker
) -> dg.MaterializeResult[pa.Table]:
    settings = installation.recipe.base_model
    request = {
        "action": "import_base_model",
        "name": settings.name,
        "licence": settings.licence,
        "folder": str(installation.path(settings.folder)) if settings.folder else "",
        "bundled_folder": str(installation.layout.base_models / settings.name),
    }
    model = worker.run(context, "training", request)
    model["folder"] = installation.stored_path(model["folder"])
    table = table_of([model], BASE_MODELS)
    return result("base_models", table, fingerprint_table(table), parameters=model["parameters"])


class TrainingIsDue(AC):
    """True when the recipe's number of new training examples is reached, or the base model or training settings changed."""

    @property
    def name(self) -> str:
        return "training_is_due"

    @property
    def description(self) -> str:
        return "Enough new approved examples, another base model, or other training settings"

    def evaluate(self, context: Any) -> dg.AutomationResult:
        instance = context.asset_graph_view.instance
        due = _is_due(instance, Installation(), minimum=None)
        return dg.AutomationResult(context, context.candidate_subset if due else context.get_empty_subset())


def _is_due(instance: dg.DagsterInstance, installation: Installation, minimum: int | None) -> bool:
    """Read the facts and ask the pure function. `minimum` overrides the recipe's number of new examples."""
    recipe = installation.recipe
    current, last = (
        latest_event(instance, dg.AssetKey("instruction_sets")),
        latest_event(instance, dg.AssetKey("adapters")),
    )
    base = latest_event(instance, dg.AssetKey("base_models"))
    if current is None or base is None or current.version is None:
        return False
    if last is None:
        return True
    root = installation.layout.instruction_sets
    trained_on = last.tags.get(TRAINED_ON, "")
    new, old = read_instruction_set(root, current.version), read_instruction_set(root, trained_on)
    training = section_fingerprints(recipe)["training"]
    return is_training_due(
        new_examples=count_new_examples(new.table, old.table),
        minimum_new_examples=recipe.retrain.minimum_new_examples if minimum is None else minimum,
        is_base_changed=base.version != last.tags.get(TRAINED_WITH),
        # The prompt, the splits and the share of general data are facts of the stored set.
        is_recipe_changed=training != last.tags.get(TRAINED_BY) or new.manifest["facts"] != old.manifest["facts"],
    )


TRAINED_ON = INPUT_VERSION + "instruction_sets"
TRAINED_WITH = INPUT_VERSION + "base_models"
TRAINED_BY = INPUT_VERSION + "recipe/training"


@dg.asset(
    group_name=GROUP,
    deps=[recipe_part("training")],
    pool=GPU,
    automation_condition=(quiet() & inputs_are_final() & InputsPresent() & InputsDiffer() & TrainingIsDue()).with_label(
        "when_training_is_due"
    ),
    description="A LoRA or QLoRA adapter: what the base model learned from the instruction set, with its loss curve.",
    owners=OWNERS["ml"],
    kinds={"pytorch", "huggingface"},
    metadata=definition_metadata("adapters"),
)
def adapters(
    context: dg.AssetExecutionContext,
    installation: Installation,
    worker: Worker,
    instruction_sets: pa.Table,
    base_models: pa.Table,
) -> dg.MaterializeResult[pa.Table]:
    recipe, layout = installation.recipe, installation.layout
    base = base_models.to_pylist()[0]
    with errors_for_people():
        version = latest_event(context.instance, dg.AssetKey("instruction_sets"))
        stored = read_instruction_set(layout.instruction_sets, (version.version if version else "") or "missing")
    if fingerprint_table(stored.table) != fingerprint_table(instruction_sets):
        raise dg.Failure("The stored instruction set is not the table in hand. Materialize instruction_sets again.")
    request = {
        "action": "train",
        "instruction_set": str(stored.folder / "instruction_set.parquet"),
        "base_folder": str(installation.path(base["folder"])),
        "base_fingerprint": base["fingerprint"],
        "adapters_dir": str(layout.adapters),
        "settings": asdict(recipe.training),
        "threads": installation.settings.threads,
    }
    trained = worker.run(context, "training", request)
    sections = section_fingerprints(recipe)
    template = read_chat_template(installation.path(base["folder"]))
    row = {
        **{name: trained[name] for name in ADAPTERS.names if name in trained},
        "folder": installation.stored_path(trained["folder"]),
        "base_fingerprint": base["fingerprint"],
        "instruction_set_fingerprint": stored.fingerprint,
        "recipe_fingerprint": combine([sections["training"], sections["base_model"]]),
        "prompt_fingerprint": prompt_fingerprint(stored.manifest["facts"]["system_prompt"], template),
        "method": recipe.training.method,
    }
    table = table_of([row], ADAPTERS)
    # The same training on the same inputs gives the same weights: seconds and memory are no part of the version.
    named = [row[n] for n in ("adapter_id", "base_fingerprint", "instruction_set_fingerprint", "prompt_fingerprint")]
    return result(
        "adapters",
        table,
        fingerprint_json(named),
        loss_curve=dg.MetadataValue.md(f"![loss](data:image/png;base64,{trained['curve_png']})"),
        first_train_loss=trained["first_train_loss"],
        last_train_loss=trained["last_train_loss"],
        best_validation_loss=trained["best_validation_loss"],
        rows_trained=trained["rows_trained"],
        rows_too_long=len(trained["rows_too_long"]),
        supervised_tokens=trained["supervised_tokens"],
        seconds=trained["seconds"],
        peak_memory_mb=trained["peak_memory_bytes"] / 1e6,
        adapter=short(trained["adapter_id"]),
        left_out_as_too_long=dg.MetadataValue.json(trained["rows_too_long"]),
    )


@dg.asset_check(asset="adapters", blocking=True, description="Training lowered the loss on examples it did not see.")
def validation_loss_fell(adapters: pa.Table) -> dg.AssetCheckResult:
    row = adapters.to_pylist()[0]
    return dg.AssetCheckResult(
        passed=row["best_validation_loss"] < row["first_validation_loss"],
        metadata={"before": row["first_validation_loss"], "after": row["best_validation_loss"]},
    )


@dg.schedule(
    cron_schedule=load_settings().retrain_cron,
    target=dg.AssetSelection.assets("adapters"),
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every week: train on whatever was approved since, however little it is.",
)
def weekly_retraining(
    context: dg.ScheduleEvaluationContext, installation: Installation
) -> dg.RunRequest | dg.SkipReason:
    if not _is_due(context.instance, installation, minimum=1):
        return dg.SkipReason("Nothing new was approved since the last training.")
    return dg.RunRequest(tags={"trigger": "weekly"})

"""Stage 6: the adapters trained on the base model.

Belongs here: when training is due, and starting it. Must stay out: how a model is trained (see `training/`).
"""

from collections.abc import Collection, Mapping
from dataclasses import asdict
from typing import Any

import dagster as dg
import pyarrow as pa
from dagster import AutomationCondition as AC

from fine_tune_assets.approval.drafts import CORRECTION
from fine_tune_assets.core.erased_sets import read_erased
from fine_tune_assets.core.errors import materialize_hint
from fine_tune_assets.core.fingerprints import combine, fingerprint_json, fingerprint_table, short
from fine_tune_assets.core.settings import load_settings
from fine_tune_assets.defs.platform.automation import (
    INPUT_VERSION,
    InputsDiffer,
    WholeAsset,
    latest_event,
    on_new_inputs,
)
from fine_tune_assets.defs.platform.candidate import FIRST, is_being_made, is_on_its_way, stages_of
from fine_tune_assets.defs.platform.metadata import OWNERS, checked, definition_metadata, result
from fine_tune_assets.defs.platform.recipe_sections import recipe_section
from fine_tune_assets.defs.platform.resources import Installation, Worker, errors_for_people, started_again_when_killed
from fine_tune_assets.defs.s01_raw_reports.erased_patients import require_nobody_erased
from fine_tune_assets.defs.s02_scrubbed_reports.missed_identifiers import (
    READ_FOR_TERMS,
    examples_with_misses,
    require_nothing_missed,
)
from fine_tune_assets.defs.s04_approved_examples.standing_decisions import (
    decisions_of_now,
    has_fallen,
    require_decisions_stand,
)
from fine_tune_assets.defs.s05_instruction_sets.set_checks import newest_set
from fine_tune_assets.defs.s06_adapters.sweeps import GROUP, Trainings
from fine_tune_assets.drift.windows import beyond_in_newest
from fine_tune_assets.instructions.gates import require_evidence, require_no_canaries
from fine_tune_assets.instructions.stored_sets import InstructionSetError, StoredInstructionSet, read_instruction_set
from fine_tune_assets.lineage.trainings import record_training
from fine_tune_assets.recipes.schema import Recipe
from fine_tune_assets.recipes.sections import section_fingerprints
from fine_tune_assets.tables.records import only_record, records_of, table_from
from fine_tune_assets.tables.training import Adapter, BaseModel, ExampleLength, TrainingPlan, TrainingPreflight
from fine_tune_assets.training.decisions import (
    Due,
    count_new_corrections,
    count_new_examples,
    due,
    has_better_loss,
    is_changed,
)
from fine_tune_assets.training.environments import require_environment
from fine_tune_assets.training.planning.resource_plan import require_plan
from fine_tune_assets.training.supervision.preflight import require_preflight, require_rows_trained

READ_BY_GATES = (*READ_FOR_TERMS, "scrubbed_corrections")
"""The tables that `set_learned_from` reads. A change in them closes a gate, and makes nothing again."""
GPU = "gpu"
"""Pool with one slot: training, judging and merging take turns on the one card."""


class TrainingIsDue(WholeAsset):
    """True when the recipe's number of new training examples is reached (fewer while requests are unlike the training set), or
    something else that an adapter is made of changed: base model, training settings, system prompt, splits, general data.
    What is only new waits until the last candidate is served, held or refused."""

    name = "training_is_due"
    description = "Enough new approved examples, another base model, or other settings of training or instruction sets"

    def is_true(self, context: Any) -> bool:
        view = context.asset_graph_view
        found = _due(view.instance, Installation(), minimum=None)
        return found is Due.NOW or (found is Due.NEXT and not is_on_its_way(view.asset_graph, view.instance))


def _due(instance: dg.DagsterInstance, installation: Installation, minimum: int | None) -> Due:
    """Read the facts and ask the pure function. `minimum` overrides the recipe's number of new examples: every week whatever
    is new is enough, and also what should never have been learned."""
    recipe = installation.recipe
    current, last = (
        latest_event(instance, dg.AssetKey("instruction_sets")),
        latest_event(instance, dg.AssetKey("adapters")),
    )
    base = latest_event(instance, dg.AssetKey("base_models"))
    if current is None or base is None or current.version is None:
        return Due.NOT
    if last is None:
        return Due.NOW
    (adapter,) = installation.stored("adapters").rows(("instruction_set_fingerprint", "base_fingerprint"))
    learned_from, root = str(adapter["instruction_set_fingerprint"]), installation.layout.instruction_sets
    # Those of the two that were removed since they held a patient who was erased.
    sets = (current.version, learned_from)
    erased = {fingerprint for fingerprint in sets if read_erased(root / short(fingerprint)) is not None}
    if current.version in erased:
        return Due.NOT  # it is made again without the patient first
    try:
        new = read_instruction_set(root, current.version)
        old = None if erased else read_instruction_set(root, learned_from)
    except InstructionSetError:
        return Due.NOW  # what is wrong with it is for the step to say, not for a tick
    now = decisions_of_now(installation)
    if has_fallen(new, now):
        return Due.NOT  # it is made again by the decisions of now first
    training = section_fingerprints(recipe)["training"]
    return due(
        new_examples=count_new_examples(new.table, old.table) if old else 0,
        minimum_new_examples=_minimum_new(installation) if minimum is None else minimum,
        new_corrections=count_new_corrections(new.table, old.table, CORRECTION) if old else 0,
        minimum_new_corrections=recipe.corrections.minimum_new if minimum is None else minimum,
        is_base_changed=installation.stored("base_models").rows(("fingerprint",))[0]["fingerprint"]
        != adapter["base_fingerprint"],
        is_recipe_changed=training != last.tags.get(TRAINED_BY)
        or (old is not None and _deciding_facts(new) != _deciding_facts(old)),
        has_learned_misses=minimum is not None
        and old is not None
        and examples_with_misses(installation, old.table) > 0,
        is_set_erased=old is None,
        has_revoked=old is not None and has_fallen(old, now),
    )


def _minimum_new(installation: Installation) -> int:
    """By the recipe; while requests are not like the training set, fewer new examples are enough."""
    rule, drift = installation.recipe.retrain, installation.stored("production_drift")
    if beyond_in_newest(drift.rows(("window_end", "feature", "is_beyond"))):
        return min(rule.minimum_new_examples, rule.minimum_new_after_drift)
    return rule.minimum_new_examples


def _deciding_facts(stored: StoredInstructionSet) -> dict[str, Any]:
    """The prompt, the splits and the share of general data; what the recipe is called decides nothing."""
    return {name: value for name, value in stored.manifest["facts"].items() if name != "recipe"}


TRAINED_BY = INPUT_VERSION + "recipe/training"


def behind_training(untriggered: Collection[str] = ()) -> AC:
    """For what follows from an adapter. Waits while an input is itself out of date: an adapter with old grades, or a merge of
    the adapter before, would only meet closed gates. An adapter is allowed to lag behind until a training is due. What the
    gates read triggers nothing."""
    adapters_only = dg.AssetSelection.assets("adapters")
    outdated = AC.any_deps_match(InputsDiffer()).ignore(adapters_only)
    to_be_trained = AC.any_deps_match(InputsDiffer() & TrainingIsDue()).allow(adapters_only)
    only_read = [*READ_BY_GATES, *untriggered]
    return on_new_inputs(~outdated, ~to_be_trained, untriggered=only_read, label="behind_training")


@dg.asset(
    group_name=GROUP,
    deps=[*READ_BY_GATES, recipe_section("training")],
    pool=GPU,
    automation_condition=on_new_inputs(TrainingIsDue(), untriggered=READ_BY_GATES, label="when_training_is_due"),
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
    example_lengths: pa.Table,
    training_preflights: pa.Table,
    training_plans: pa.Table,
) -> dg.MaterializeResult[pa.Table]:
    recipe, layout = installation.recipe, installation.layout
    base, sections = only_record(BaseModel, base_models), section_fingerprints(recipe)
    lengths = list(records_of(ExampleLength, example_lengths))
    with errors_for_people():
        stored = _allowed_set(context.instance, installation)
        bound = {
            "instruction_set_fingerprint": stored.fingerprint,
            "base_fingerprint": base.fingerprint,
            "training_fingerprint": sections["training"],
        }
        looked_at = list(records_of(TrainingPreflight, training_preflights))
        preflight = require_preflight(looked_at, lengths, max_length=recipe.training.max_length, **bound)
        python = require_environment(
            recipe.training.engine, installation.settings.unsloth_interpreter, bool(installation.settings.ray.address)
        )
        plans = list(records_of(TrainingPlan, training_plans))
        plan = require_plan(plans, installation.settings.card_elsewhere_gb, **bound)
    # How the plan split a step, if the recipe leaves that to it.
    split = ("batch_size", "gradient_accumulation") if recipe.training.fit_batch_size else ()
    fitted = {name: getattr(plan, name) for name in split}
    if fingerprint_table(stored.table) != fingerprint_table(instruction_sets):
        raise dg.Failure(f"The stored instruction set is not the table in hand. {materialize_hint('instruction_sets')}")
    if example_lengths.column("example_id") != instruction_sets.column("example_id"):
        raise dg.Failure(f"The lengths that were counted are of another set. {materialize_hint('example_lengths')}")
    request = {
        "action": "train",
        "instruction_set": str(stored.folder / "instruction_set.parquet"),
        "base_folder": str(installation.path(base.folder)),
        "base_fingerprint": base.fingerprint,
        "adapters_dir": str(layout.adapters),
        "checkpoints_dir": str(layout.training_checkpoints),
        "tensorboard_dir": str(layout.tensorboard),
        "settings": {**asdict(recipe.training), **fitted},
        "threads": installation.settings.threads,
    }
    trainings = Trainings(context, installation, worker, request, python, stored.fingerprint, lengths)
    with started_again_when_killed():
        trained = trainings.run()
    with errors_for_people():
        require_rows_trained(lengths, trained["rows_too_long"])
    record_training(layout.adapters, trained["adapter_id"], stored.fingerprint, trained["rows_too_long"])
    adapter = Adapter.of(
        {
            **dict.fromkeys(Adapter.SCHEMA.names),
            **trained,
            "line": recipe.name,
            "folder": installation.stored_path(trained["folder"]),
            "base_fingerprint": base.fingerprint,
            "instruction_set_fingerprint": stored.fingerprint,
            "recipe_fingerprint": combine([sections["training"], sections["base_model"]]),
            "prompt_fingerprint": preflight.prompt_fingerprint,
            "method": recipe.training.method,
            "sweep": trainings.sweep,
            **planned_figures(recipe, plan, trained),
        }
    )
    told = trainings.tell(adapter, trained)
    return result("adapters", table_from(Adapter, [adapter]), _version(adapter), **_shown(trained), **told)


def set_learned_from(installation: Installation, instruction_set_fingerprint: str) -> StoredInstructionSet:
    """The set of an adapter. Raises InstructionSetError if it is gone, GateClosedError if it holds an identifier that a reviewer
    marked, a patient who was erased, or what is not approved any more."""
    stored = read_instruction_set(installation.layout.instruction_sets, instruction_set_fingerprint)
    require_nothing_missed(installation, stored.table)
    require_nobody_erased(installation, stored.table)
    require_decisions_stand(installation, stored)
    return stored


def _allowed_set(instance: dg.DagsterInstance, installation: Installation) -> StoredInstructionSet:
    """The newest set, if it may be learned from. Raises what closes the gate."""
    stored = set_learned_from(installation, newest_set(instance))
    require_evidence(stored)
    require_no_canaries(stored)
    return stored


def planned_figures(recipe: Recipe, plan: TrainingPlan, trained: Mapping[str, Any]) -> dict[str, Any]:
    """What the training can be measured by. A trial of a sweep and Unsloth were not what was planned; on a GPU only tensors
    are measured, and what ended early took less."""
    if recipe.sweep is not None or recipe.training.engine != "trl":
        return {"planned_peak_bytes": None, "planned_seconds": None}
    is_gpu = trained["device"] == "cuda"
    return {
        "planned_peak_bytes": plan.peak_bytes - (plan.library_bytes if is_gpu else 0),
        "planned_seconds": None if trained["stopped_early"] else plan.seconds,
    }


def _version(adapter: Adapter) -> str:
    """Of the adapter, and of the sweep that it was chosen in if there was one."""
    return fingerprint_json([getattr(adapter, name) for name in _NAMED] + [name for name in [adapter.sweep] if name])


_NAMED = ("adapter_id", "base_fingerprint", "instruction_set_fingerprint", "prompt_fingerprint")
"""The same training on the same inputs gives the same weights: seconds and memory are no part of the version."""
_TOLD = (
    "first_train_loss", "last_train_loss", "best_validation_loss", "rows_trained", "supervised_tokens", "steps", "stopped_early",
    "packing", "base_divergence", "tokens_per_second", "seconds", "engine",
)  # fmt: skip


def _shown(trained: dict[str, Any]) -> dict[str, Any]:
    return {
        "loss_curve": dg.MetadataValue.md(f"![loss](data:image/png;base64,{trained['curve_png']})"),
        **{name: trained[name] for name in _TOLD},
        "rows_too_long": len(trained["rows_too_long"]),
        "resumed_from_step": trained["resumed_from_step"] or 0,
        "peak_memory_mb": trained["peak_memory_bytes"] / 1e6,
        "adapter": short(trained["adapter_id"]),
        "libraries": ", ".join(f"{name} {version}" for name, version in trained["libraries"].items()),
        "left_out_as_too_long": dg.MetadataValue.json(trained["rows_too_long"]),
    }


@dg.asset_check(asset="adapters", blocking=True, description="Training lowered the loss on examples it did not see.")
def validation_loss_fell(adapters: pa.Table) -> dg.AssetCheckResult:
    adapter = only_record(Adapter, adapters)
    before, after = adapter.first_validation_loss, adapter.best_validation_loss
    return checked(has_better_loss(before, after), before=before, after=after)


@dg.asset_check(
    asset="adapters",
    blocking=True,
    description="On answers that it did not learn from, the adapter says something else than the base model.",
)
def training_changed_the_model(adapters: pa.Table) -> dg.AssetCheckResult:
    divergence = only_record(Adapter, adapters).base_divergence
    why = (
        f"Nobody measured it. {materialize_hint('adapters')}"
        if divergence is None
        else "The adapter answers as the base model does: nothing was learned."
    )
    return checked(is_changed(divergence), None if is_changed(divergence) else why, nats_per_token=divergence)


@dg.schedule(
    cron_schedule=load_settings().retrain.cron,
    execution_timezone=load_settings().time_zone,
    # Planned again too: what did not fit last week may fit now.
    target=dg.AssetSelection.assets("training_plans", "adapters"),
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every week: train on whatever was approved since, however little it is.",
)
def weekly_retraining(
    context: dg.ScheduleEvaluationContext, installation: Installation
) -> dg.RunRequest | dg.SkipReason:
    if is_being_made(context.instance, {FIRST} | stages_of(context.repository_def.asset_graph)):
        return dg.SkipReason("A retraining is going on. What is new waits for the next one.")
    if _due(context.instance, installation, minimum=1) is Due.NOT:
        return dg.SkipReason("Nothing new was approved since the last training.")
    return dg.RunRequest(tags={"trigger": "weekly"})

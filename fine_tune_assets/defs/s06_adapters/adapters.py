"""Stage 6: decides when a training is due, and starts it. `training/` does the training."""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
from dagster import AutomationCondition as AC

from fine_tune_assets.approval.drafts import CORRECTION
from fine_tune_assets.core.erased_sets import read_erased_set
from fine_tune_assets.core.errors import materialize_hint
from fine_tune_assets.core.fingerprints import combine, fingerprint_json, fingerprint_table, short
from fine_tune_assets.core.processes.worker_requests import TrainRequest
from fine_tune_assets.core.settings import load_settings
from fine_tune_assets.defs.jobs import RETRAIN
from fine_tune_assets.defs.platform.asset_keys import asset_key, line_tags
from fine_tune_assets.defs.platform.automation import (
    CODE_VERSION,
    InputsChanged,
    WholeAssetCondition,
    latest_event,
    on_new_inputs,
)
from fine_tune_assets.defs.platform.candidate import (
    FIRST_ASSET,
    candidate_assets,
    has_candidate_in_flight,
    is_in_progress,
)
from fine_tune_assets.defs.platform.metadata import OWNERS, check_result, definition_metadata, plot, table_result
from fine_tune_assets.defs.platform.recipe_versions import code_version, section_version, training_version
from fine_tune_assets.defs.platform.resources import Installation, Worker, retry_when_killed, user_facing_errors
from fine_tune_assets.defs.s01_raw_reports.erased_subjects import require_no_erased_subjects
from fine_tune_assets.defs.s02_scrubbed_reports.missed_identifiers import (
    count_missed_identifiers,
    require_no_missed_identifiers,
)
from fine_tune_assets.defs.s04_approved_examples.current_decisions import (
    current_decisions,
    is_revoked,
    require_still_approved,
)
from fine_tune_assets.defs.s05_instruction_sets.set_checks import newest_fingerprint
from fine_tune_assets.defs.s06_adapters.mlflow_logging import log_to_mlflow
from fine_tune_assets.drift.drift_metrics import drifted_features
from fine_tune_assets.instructions.gates import require_evidence, require_no_planted_secrets
from fine_tune_assets.instructions.stored_sets import InstructionSetError, StoredInstructionSet, read_instruction_set
from fine_tune_assets.lineage.training_runs import record_training_run
from fine_tune_assets.recipes.recipe_parts import section_fingerprints
from fine_tune_assets.recipes.schema import Recipe
from fine_tune_assets.tables.record_classes import iter_records, read_single_record, table_from_records
from fine_tune_assets.tables.training_rows import Adapter, BaseModel, ExampleLength, TrainingPlan, TrainingPreflight
from fine_tune_assets.training.environments import require_environment
from fine_tune_assets.training.planning.resource_plan import require_plan
from fine_tune_assets.training.supervision.preflight_checks import require_preflight, require_rows_trained
from fine_tune_assets.training.training_due import (
    TrainingDue,
    count_new_corrections,
    count_new_examples,
    decide_due,
    has_lower_loss,
    is_changed,
)

GROUP = "s06_adapters"
GPU = "gpu"
"""Pool with one slot, so that training, judging and merging take turns on the GPU."""


class TrainingIsDue(WholeAssetCondition):
    """True if there are enough new training examples (fewer during drift), or if the base model, the training settings, the
    system prompt, the splits or the share of general data changed.

    New examples alone wait until the last candidate is served, held or refused.
    """

    name = "training_is_due"
    description = "Enough new approved examples, a new base model, or changed settings of training or instruction sets"

    def is_true(self, context: Any) -> bool:
        view = context.asset_graph_view
        found = _decide_due(view.instance, Installation(), minimum=None)
        return found is TrainingDue.NOW or (
            found is TrainingDue.AFTER_CANDIDATE and not has_candidate_in_flight(view.asset_graph, view.instance)
        )


def _decide_due(instance: dg.DagsterInstance, installation: Installation, minimum: int | None) -> TrainingDue:
    """Gather the inputs of `decide_due`.

    `minimum` overrides the recipe's number of new examples. The weekly training sets it to 1; then missed identifiers in the
    previous training set also make a training due.
    """
    recipe = installation.recipe
    current, last = (
        latest_event(instance, asset_key("instruction_sets")),
        latest_event(instance, asset_key("adapters")),
    )
    base = latest_event(instance, asset_key("base_models"))
    if current is None or base is None or current.version is None:
        return TrainingDue.NOT_DUE
    if last is None:
        return TrainingDue.NOW
    (adapter,) = installation.stored("adapters").rows(("instruction_set_fingerprint", "base_fingerprint"))
    previous, root = str(adapter["instruction_set_fingerprint"]), installation.layout.instruction_sets
    # Sets that were removed because they contained an erased subject.
    sets = (current.version, previous)
    erased = {fingerprint for fingerprint in sets if read_erased_set(root / short(fingerprint)) is not None}
    if current.version in erased:
        return TrainingDue.NOT_DUE  # the set is first rebuilt without the subject
    try:
        new = read_instruction_set(root, current.version)
        old = None if erased else read_instruction_set(root, previous)
    except InstructionSetError:
        return TrainingDue.NOW  # the step reports the error
    now = current_decisions(installation)
    if is_revoked(new, now):
        return TrainingDue.NOT_DUE  # the set is first rebuilt with the current decisions
    trained_with = section_version(last.tags.get(CODE_VERSION), "training")
    return decide_due(
        new_examples=count_new_examples(new.table, old.table) if old else 0,
        minimum_new_examples=_minimum_new_examples(installation) if minimum is None else minimum,
        new_corrections=count_new_corrections(new.table, old.table, CORRECTION) if old else 0,
        minimum_new_corrections=recipe.corrections.minimum_new if minimum is None else minimum,
        is_base_changed=installation.stored("base_models").rows(("fingerprint",))[0]["fingerprint"]
        != adapter["base_fingerprint"],
        is_recipe_changed=trained_with != training_version(recipe)
        or (old is not None and _defining_facts(new) != _defining_facts(old)),
        has_missed_identifiers=minimum is not None
        and old is not None
        and count_missed_identifiers(installation, old.table) > 0,
        has_erased_subjects=old is None,
        has_revoked_examples=old is not None and is_revoked(old, now),
    )


def _minimum_new_examples(installation: Installation) -> int:
    """The recipe's number of new examples, or its lower number during drift."""
    rule, drift = installation.recipe.retrain, installation.stored("production_drift")
    if drifted_features(drift.rows(("window_end", "feature", "exceeds_threshold"))):
        return min(rule.minimum_new_examples, rule.minimum_new_after_drift)
    return rule.minimum_new_examples


def _defining_facts(stored: StoredInstructionSet) -> dict[str, Any]:
    """The facts that define a set (prompt, splits, general data), without the recipe's name."""
    return {name: value for name, value in stored.manifest["facts"].items() if name != "recipe"}


def after_training(ignored: Collection[str] = ()) -> AC:
    """For assets downstream of an adapter. Waits while an input is out of date, since a new adapter with old grades would only
    meet closed gates.

    The adapter itself may be out of date until a training is due.
    """
    adapters_only = dg.AssetSelection.assets(asset_key("adapters"))
    is_outdated = AC.any_deps_match(InputsChanged()).ignore(adapters_only)
    is_training_due = AC.any_deps_match(InputsChanged() & TrainingIsDue()).allow(adapters_only)
    return on_new_inputs(~is_outdated, ~is_training_due, ignored=ignored, label="after_training")


@dg.asset(
    group_name=GROUP,
    code_version=code_version("training"),
    pool=GPU,
    automation_condition=on_new_inputs(TrainingIsDue(), label="when_training_is_due"),
    description="The LoRA or QLoRA adapter that was trained on the instruction set, with its loss curve.",
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
    training_plans: pa.Table,
) -> dg.MaterializeResult[pa.Table]:
    recipe, layout = installation.recipe, installation.layout
    base, sections = read_single_record(BaseModel, base_models), section_fingerprints(recipe)
    lengths = list(iter_records(ExampleLength, installation.stored("example_lengths").table()))
    with user_facing_errors():
        start = _require_startable(context.instance, installation, base, training_plans, lengths)
    _require_same_examples(start.instruction_set, instruction_sets, lengths)
    settings = {**asdict(recipe.training), **_planned_batch(recipe, start.plan)}
    request: TrainRequest = {
        "action": "train",
        "instruction_set": str(start.instruction_set.folder / "instruction_set.parquet"),
        "base_folder": str(installation.path(base.folder)),
        "base_fingerprint": base.fingerprint,
        "adapters_dir": str(layout.adapters),
        "checkpoints_dir": str(layout.training_checkpoints),
        "settings": settings,
        "threads": installation.settings.threads,
    }
    with retry_when_killed():
        trained = worker.run_local_or_cluster(context, "training", request, start.python)
    with user_facing_errors():
        require_rows_trained(lengths, trained["rows_too_long"])
    set_fingerprint = start.instruction_set.fingerprint
    record_training_run(layout.adapters, trained["adapter_id"], set_fingerprint, trained["rows_too_long"])
    adapter = Adapter.from_row(
        {
            **dict.fromkeys(Adapter.SCHEMA.names),
            **trained,
            "line": recipe.name,
            "folder": installation.stored_path(trained["folder"]),
            "base_fingerprint": base.fingerprint,
            "instruction_set_fingerprint": set_fingerprint,
            "recipe_fingerprint": combine([sections["training"], sections["base_model"]]),
            "prompt_fingerprint": start.preflight.prompt_fingerprint,
            "method": recipe.training.method,
            "planned_peak_bytes": planned_peak_bytes(recipe, start.plan, trained["device"]),
        }
    )
    return table_result(
        "adapters",
        table_from_records(Adapter, [adapter]),
        _version(adapter),
        **_training_metadata(trained),
        mlflow=log_to_mlflow(context, installation, trained, adapter, settings),
    )


@dataclass(frozen=True)
class _TrainingStart:
    """What a training may start with."""

    instruction_set: StoredInstructionSet
    preflight: TrainingPreflight
    plan: TrainingPlan
    python: Path
    """The interpreter of the training."""


def _require_startable(
    instance: dg.DagsterInstance,
    installation: Installation,
    base: BaseModel,
    training_plans: pa.Table,
    lengths: Sequence[ExampleLength],
) -> _TrainingStart:
    """The gates before a training. Raises FineTuneError."""
    recipe, settings = installation.recipe, installation.settings
    stored = _trainable_set(instance, installation)
    bound = {
        "instruction_set_fingerprint": stored.fingerprint,
        "base_fingerprint": base.fingerprint,
        "training_fingerprint": section_fingerprints(recipe)["training"],
    }
    preflights = list(iter_records(TrainingPreflight, installation.stored("training_preflights").table()))
    plans = list(iter_records(TrainingPlan, training_plans))
    return _TrainingStart(
        instruction_set=stored,
        preflight=require_preflight(preflights, lengths, max_length=recipe.training.max_length, **bound),
        python=require_environment(recipe.training.engine, settings.unsloth_interpreter, bool(settings.ray.address)),
        plan=require_plan(plans, settings.cluster_gpu_memory_gb, **bound),
    )


def _require_same_examples(
    stored: StoredInstructionSet, instruction_sets: pa.Table, lengths: Sequence[ExampleLength]
) -> None:
    """Raise dg.Failure unless the stored set, the table of the asset and the lengths have the same examples."""
    if fingerprint_table(stored.table) != fingerprint_table(instruction_sets):
        raise dg.Failure(
            f"Stored instruction set {stored.folder.name} differs from the table of the asset. "
            + materialize_hint("instruction_sets")
        )
    if [row.example_id for row in lengths] != instruction_sets.column("example_id").to_pylist():
        raise dg.Failure(
            f"The example lengths belong to another set than {stored.folder.name}. {materialize_hint('training_plans')}"
        )


def _planned_batch(recipe: Recipe, plan: TrainingPlan) -> dict[str, int]:
    """With `fit_batch_size` the plan chooses the batch size."""
    if not recipe.training.fit_batch_size:
        return {}
    return {"batch_size": plan.batch_size, "gradient_accumulation": plan.gradient_accumulation}


def read_training_set(installation: Installation, instruction_set_fingerprint: str) -> StoredInstructionSet:
    """The instruction set that an adapter was trained on.

    Raises InstructionSetError if it was removed, and GateClosedError if it contains a marked identifier, an erased subject or
    an example whose approval has lapsed.
    """
    stored = read_instruction_set(installation.layout.instruction_sets, instruction_set_fingerprint)
    require_no_missed_identifiers(installation, stored.table)
    require_no_erased_subjects(installation, stored.table)
    require_still_approved(installation, stored)
    return stored


def _trainable_set(instance: dg.DagsterInstance, installation: Installation) -> StoredInstructionSet:
    """The newest instruction set, if it may be trained on. Raises GateClosedError, InstructionSetError."""
    stored = read_training_set(installation, newest_fingerprint(instance))
    require_evidence(stored)
    require_no_planted_secrets(stored)
    return stored


def planned_peak_bytes(recipe: Recipe, plan: TrainingPlan, device: str) -> int | None:
    """The planned memory that the training can be compared with; None with Unsloth, which a plan does not cover.

    On a GPU only tensors are measured, so the plan's library memory is subtracted.
    """
    if recipe.training.engine != "trl":
        return None
    return plan.peak_bytes - (plan.library_bytes if device == "cuda" else 0)


def _version(adapter: Adapter) -> str:
    return fingerprint_json([getattr(adapter, name) for name in _VERSION_FIELDS])


_VERSION_FIELDS = ("adapter_id", "base_fingerprint", "instruction_set_fingerprint", "prompt_fingerprint")
"""Without time and memory: the same training on the same inputs gives the same weights."""
_METADATA_FIELDS = (
    "first_train_loss", "last_train_loss", "best_validation_loss", "trained_row_count", "supervised_tokens", "steps",
    "stopped_early", "packing", "base_kl_divergence", "tokens_per_second", "duration_seconds", "engine",
)  # fmt: skip


def _training_metadata(trained: dict[str, Any]) -> dict[str, Any]:
    return {
        "training_curve": plot("loss and learning rate", trained["curve_png"]),
        **{name: trained[name] for name in _METADATA_FIELDS},
        "rows_too_long": len(trained["rows_too_long"]),
        "resumed_from_step": trained["resumed_from_step"] or 0,
        "peak_memory_mb": trained["peak_memory_bytes"] / 1e6,
        "adapter": short(trained["adapter_id"]),
        "libraries": ", ".join(f"{name} {version}" for name, version in trained["libraries"].items()),
        "dropped_as_too_long": dg.MetadataValue.json(trained["rows_too_long"]),
    }


@dg.asset_check(
    asset="adapters", blocking=True, description="The training lowered the loss on examples that it did not train on."
)
def validation_loss_decreased(adapters: pa.Table) -> dg.AssetCheckResult:
    adapter = read_single_record(Adapter, adapters)
    before, after = adapter.first_validation_loss, adapter.best_validation_loss
    return check_result(has_lower_loss(before, after), before=before, after=after)


@dg.asset_check(
    asset="adapters",
    blocking=True,
    description="On validation examples, adapter and base model give measurably different answers.",
)
def adapter_differs_from_base_model(adapters: pa.Table) -> dg.AssetCheckResult:
    divergence = read_single_record(Adapter, adapters).base_kl_divergence
    reason = (
        f"The difference from the base model was not measured. {materialize_hint('adapters')}"
        if divergence is None
        else "Adapter and base model give the same answers: the training had no effect."
    )
    return check_result(is_changed(divergence), None if is_changed(divergence) else reason, nats_per_token=divergence)


@dg.schedule(
    cron_schedule=load_settings().retrain.cron,
    execution_timezone=load_settings().time_zone,
    job=RETRAIN,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Trains once a week on newly approved examples, even if there are only a few.",
)
def weekly_retraining(
    context: dg.ScheduleEvaluationContext, installation: Installation
) -> dg.RunRequest | dg.SkipReason:
    if is_in_progress(context.instance, {FIRST_ASSET} | candidate_assets(context.repository_def.asset_graph)):
        return dg.SkipReason("A candidate is in flight. New examples wait for the next training.")
    if _decide_due(context.instance, installation, minimum=1) is TrainingDue.NOT_DUE:
        return dg.SkipReason("Nothing new was approved since the last training.")
    return dg.RunRequest(tags={"trigger": "weekly", **line_tags()})

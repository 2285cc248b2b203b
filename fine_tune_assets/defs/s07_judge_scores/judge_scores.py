"""Stage 7: grades candidate and incumbent on the same test examples. `promotion_verdicts.py` decides."""

from collections import defaultdict
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa

from fine_tune_assets.core.errors import GateClosedError, materialize_hint
from fine_tune_assets.core.fingerprints import fingerprint_table, short
from fine_tune_assets.core.processes.worker_requests import (
    GradeRequest,
    IncumbentFields,
    MeasureAbilitiesRequest,
    ModelFields,
)
from fine_tune_assets.core.shared_records import CANDIDATE_KEY
from fine_tune_assets.defs.platform.metadata import OWNERS, definition_metadata, markdown_table, plot, table_result
from fine_tune_assets.defs.platform.recipe_versions import code_version
from fine_tune_assets.defs.platform.resources import Installation, Worker, user_facing_errors
from fine_tune_assets.defs.s05_instruction_sets.instruction_sets import ability_questions
from fine_tune_assets.defs.s06_adapters.adapters import GPU, after_training, read_training_set
from fine_tune_assets.defs.s07_judge_scores.metric_metadata import check_family
from fine_tune_assets.judging.evaluation.example_selection import RequiredTasks
from fine_tune_assets.judging.evaluation.general_abilities import ability_budgets
from fine_tune_assets.judging.judges.grade_cache import CACHE_FILE
from fine_tune_assets.judging.judges.judge_family import is_same_family
from fine_tune_assets.judging.judges.judge_registry import judge_request
from fine_tune_assets.judging.verdicts import metric_families as families
from fine_tune_assets.judging.verdicts.example_reuse import VerdictHistory, find_verdict_history
from fine_tune_assets.judging.verdicts.verdict_plots import grade_plot
from fine_tune_assets.ledger.serving.imported_releases import find_import
from fine_tune_assets.ledger.serving.release_records import find_release_by_adapter
from fine_tune_assets.ledger.serving.switch_log import find_production_adapter
from fine_tune_assets.ledger.serving.verdicts import find_latest_verdict, list_asked_tests
from fine_tune_assets.tables.judging_rows import JudgeScore, RetainedAbility
from fine_tune_assets.tables.record_classes import iter_records, read_single_record
from fine_tune_assets.tables.training_rows import Adapter, BaseModel
from fine_tune_assets.training.training_due import require_changed_adapter

GROUP = "s07_judge_scores"


def model_request(installation: Installation, adapter: Adapter, base: BaseModel) -> ModelFields:
    """The request fields that describe base model and adapter.

    Raises GateClosedError if the adapter does not differ from its base model, or the base model has changed since.
    """
    require_changed_adapter(adapter)
    if base.fingerprint != adapter.base_fingerprint:
        raise GateClosedError(
            f"Adapter {adapter.adapter_id} was trained on another base model. {materialize_hint('adapters')}"
        )
    return {
        "base_folder": str(installation.path(base.folder)),
        "base_fingerprint": base.fingerprint,
        "adapter_folder": str(installation.path(adapter.folder)),
        "adapter_id": adapter.adapter_id,
        "is_quantized": adapter.method == "qlora",
        "merged_dtype": installation.recipe.merged_dtype,
        "batch_size": installation.recipe.judge.batch_size,
        "threads": installation.settings.threads,
        "cache": str(installation.layout.cache / CACHE_FILE),
    }


def find_incumbent(installation: Installation, adapter: Adapter) -> IncumbentFields:
    """The incumbent and the location of its weights: the production model or, before the first release, the base model.

    A candidate that is already in production is compared with the model that it replaced, so that judging it again gives the
    same result. Raises GateClosedError if the incumbent was imported.
    """
    with installation.ledger() as ledger:
        incumbent = find_production_adapter(ledger) or adapter.base_fingerprint
        if incumbent == adapter.adapter_id:
            verdict = find_latest_verdict(ledger, **{name: getattr(adapter, name) for name in CANDIDATE_KEY})
            incumbent = verdict.incumbent if verdict else adapter.base_fingerprint
        served = find_release_by_adapter(ledger, incumbent)
        is_imported = served is not None and find_import(ledger, served.release_id) is not None
    found: IncumbentFields = {
        "incumbent": incumbent,
        "incumbent_adapter": "",
        "incumbent_weights": "",
        "incumbent_weights_fingerprint": "",
    }
    if incumbent == adapter.base_fingerprint:
        return found
    if served is not None and is_imported:
        raise GateClosedError(
            f"The production model, release {served.release_id}, was imported without its adapter and base model, so no "
            "candidate can be compared with it. To let the first promoted candidate replace it, import it again as a "
            "placeholder: `fine-tune releases import FILE --public-key KEY --placeholder`."
        )
    if served is None or served.base_fingerprint == adapter.base_fingerprint:
        return {**found, "incumbent_adapter": str(installation.layout.adapters / short(incumbent))}
    # Its adapter belongs to another base model, so its merged weights are used.
    return {
        **found,
        "incumbent_weights": str(installation.layout.weights / short(served.weights_fingerprint)),
        "incumbent_weights_fingerprint": served.weights_fingerprint,
    }


@dg.asset(
    group_name=GROUP,
    code_version=code_version("judge"),
    pool=GPU,
    automation_condition=after_training(),
    description="Grades from 1 to 10 for base model, candidate and incumbent, on the same test examples.",
    owners=OWNERS["ml"],
    kinds={"parquet"},
    metadata=definition_metadata("judge_scores"),
)
def judge_scores(
    context: dg.AssetExecutionContext,
    installation: Installation,
    worker: Worker,
    adapters: pa.Table,
    base_models: pa.Table,
) -> dg.MaterializeResult[pa.Table]:
    adapter, base = read_single_record(Adapter, adapters), read_single_record(BaseModel, base_models)
    judge = installation.recipe.judge
    with user_facing_errors():
        stored = read_training_set(installation, adapter.instruction_set_fingerprint)
        models, incumbent = model_request(installation, adapter, base), find_incumbent(installation, adapter)
        history = read_verdict_history(installation, adapter, incumbent["incumbent"], None)
    gate = installation.recipe.gate
    tested = RequiredTasks(
        [task.name for task in installation.recipe.tasks if task.name not in gate.untested_tasks],
        gate.minimum_group_examples,
    )
    request: GradeRequest = {
        "action": "grade",
        **models,
        **incumbent,
        "instruction_set": str(stored.folder / "instruction_set.parquet"),
        "test_examples": judge.test_examples,
        "asked_examples": asdict(history.asked),
        "required_tasks": asdict(tested),
        "max_new_tokens": judge.max_new_tokens,
        "engine": judge.engine,
        "judge": judge_request(installation.settings, installation.recipe),
    }
    table = worker.make_table(context, "judging", request)
    means = _mean_grades(table)
    shown = [{"model": model, **figures} for model, figures in means.items()]
    return table_result(
        "judge_scores",
        table,
        fingerprint_table(table),
        means=markdown_table(shown),
        is_judge_of_same_family=is_same_family(judge, installation.recipe.base_model, installation.settings.data_dir),
        **grade_metadata(table),
        **{f"mean_{model}": figures["mean grade"] for model, figures in means.items()},
    )


def read_verdict_history(
    installation: Installation, adapter: Adapter, incumbent: str, scores: str | None
) -> VerdictHistory:
    """What earlier verdicts asked. `scores`: fingerprint of the grades to decide on; None before they exist."""
    with installation.ledger() as ledger:
        return find_verdict_history(list_asked_tests(ledger), adapter.adapter_id, incumbent, scores, datetime.now(UTC))


def grade_metadata(scores: pa.Table) -> dict[str, Any]:
    """A plot of each model's grades; nothing if there are none."""
    grades = defaultdict[str, list[float]](list)
    for row in iter_records(JudgeScore, scores):
        if row.score is not None:
            grades[row.model].append(row.score)
    png = grade_plot(grades)
    return {} if png is None else {"grades": plot("grades of the same test examples", png)}


def _mean_grades(scores: pa.Table) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for model in sorted(set(scores.column("model").to_pylist())):
        rows = [row for row in iter_records(JudgeScore, scores) if row.model == model]
        graded = [row.score for row in rows if row.score is not None]
        found[model] = {
            "answers": len(rows),
            "without a grade": len(rows) - len(graded),
            "mean grade": sum(graded) / len(graded) if graded else float("nan"),
            "unsupported numbers": sum(row.unsupported_numbers for row in rows),
            "finished": sum(row.is_finished for row in rows) / len(rows),
        }
    return found


def question_files(installation: Installation) -> list[Path]:
    """One file per general task."""
    return sorted((installation.layout.evaluation / "abilities").glob("*.jsonl"))


@dg.asset(
    group_name=GROUP,
    deps=[ability_questions],
    code_version=code_version("abilities"),
    pool=GPU,
    automation_condition=after_training(),
    description="The candidate's accuracy on general tasks that are never trained on, compared with its base model.",
    owners=OWNERS["ml"],
    kinds={"parquet"},
    metadata=definition_metadata("retained_abilities"),
)
def retained_abilities(
    context: dg.AssetExecutionContext,
    installation: Installation,
    worker: Worker,
    adapters: pa.Table,
    base_models: pa.Table,
) -> dg.MaterializeResult[pa.Table]:
    adapter, base = read_single_record(Adapter, adapters), read_single_record(BaseModel, base_models)
    questions = question_files(installation)
    with user_facing_errors():
        models = model_request(installation, adapter, base)
        budgets = ability_budgets([path.stem for path in questions], installation.recipe.gate)
    request: MeasureAbilitiesRequest = {
        "action": "measure_abilities",
        **models,
        "questions": [str(path) for path in questions],
        "budgets": budgets,
        "items": installation.recipe.judge.ability_items,
    }
    table = worker.make_table(context, "judging", request)
    abilities = iter_records(RetainedAbility, table)
    changes = {f"change_{row.ability}": row.adapter_accuracy - row.base_accuracy for row in abilities}
    shown = markdown_table(table.to_pylist())
    return table_result("retained_abilities", table, fingerprint_table(table), abilities=shown, **changes)


@dg.asset_check(
    asset="retained_abilities",
    description="On no general task did the accuracy drop by more than the recipe allows.",
)
def abilities_are_within_budget(installation: Installation, retained_abilities: pa.Table) -> dg.AssetCheckResult:
    gate, names = installation.recipe.gate, [path.stem for path in question_files(installation)]
    return check_family("abilities", families.ability_metrics(retained_abilities, gate), names, gate)

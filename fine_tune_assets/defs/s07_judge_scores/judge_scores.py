"""Stage 7: is the candidate better than what serves now?

Belongs here: measuring judge and candidate. Must stay out: the verdict (see promotion_verdicts.py).
"""

from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa

from fine_tune_assets.core.errors import GateClosedError, materialize_hint
from fine_tune_assets.core.fingerprints import fingerprint_table, short
from fine_tune_assets.core.records import CANDIDATE_KEY
from fine_tune_assets.defs.platform.metadata import OWNERS, definition_metadata, markdown_table, result
from fine_tune_assets.defs.platform.recipe_sections import recipe_section
from fine_tune_assets.defs.platform.resources import Installation, Worker, errors_for_people
from fine_tune_assets.defs.s05_instruction_sets.instruction_sets import ability_questions
from fine_tune_assets.defs.s06_adapters.adapters import GPU, READ_BY_GATES, behind_training, set_learned_from
from fine_tune_assets.defs.s07_judge_scores.figures import family_checked
from fine_tune_assets.judging.contestants.abilities import ability_budgets
from fine_tune_assets.judging.judges.grade_cache import FILE
from fine_tune_assets.judging.judges.registry import judge_request
from fine_tune_assets.judging.verdicts import families
from fine_tune_assets.judging.verdicts.paired_grades import Preferences, in_words, preferences_in
from fine_tune_assets.ledger.serving.imported_releases import find_import
from fine_tune_assets.ledger.serving.releases import release_of_adapter
from fine_tune_assets.ledger.serving.switch_log import serving_adapter
from fine_tune_assets.ledger.serving.verdicts import latest_verdict
from fine_tune_assets.tables.judging import JudgeScore, RetainedAbility
from fine_tune_assets.tables.records import only_record, records_of
from fine_tune_assets.tables.training import Adapter, BaseModel
from fine_tune_assets.training.decisions import require_learned

GROUP = "s07_judge_scores"


def model_request(installation: Installation, adapter: Adapter, base: BaseModel) -> dict[str, Any]:
    """Raises GateClosedError when the adapter learned nothing, or was trained on another base model than the present one."""
    require_learned(adapter)
    if base.fingerprint != adapter.base_fingerprint:
        raise GateClosedError(
            f"The base model is not the one that the adapter was trained on. {materialize_hint('adapters')}"
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
        "cache": str(installation.layout.cache / FILE),
    }


def incumbent_of(installation: Installation, adapter: Adapter) -> dict[str, str]:
    """What users were last switched to, and where its weights lie; the base model before the first release.

    A candidate that serves already is compared with what it replaced, so that judging it again changes nothing.
    """
    with installation.ledger() as ledger:
        incumbent = serving_adapter(ledger) or adapter.base_fingerprint
        if incumbent == adapter.adapter_id:
            verdict = latest_verdict(ledger, **{name: getattr(adapter, name) for name in CANDIDATE_KEY})
            incumbent = verdict.incumbent if verdict else adapter.base_fingerprint
        served = release_of_adapter(ledger, incumbent)
        is_imported = served is not None and find_import(ledger, served.release_id) is not None
    found = {
        "incumbent": incumbent,
        "incumbent_adapter": "",
        "incumbent_weights": "",
        "incumbent_weights_fingerprint": "",
    }
    if incumbent == adapter.base_fingerprint:
        return found
    if served is not None and is_imported:
        raise GateClosedError(
            f"Release {served.release_id}, which serves, was imported, and what it was made from is not here: no candidate "
            "can be compared with it. To let the first promoted candidate replace it, import it again as a placeholder: "
            "`fine-tune releases import FILE --public-key KEY --placeholder`."
        )
    if served is None or served.base_fingerprint == adapter.base_fingerprint:
        return {**found, "incumbent_adapter": str(installation.layout.adapters / short(incumbent))}
    # Its adapter does not fit on this base model: the merged weights that it was released from do the answering.
    return {
        **found,
        "incumbent_weights": str(installation.layout.weights / short(served.weights_fingerprint)),
        "incumbent_weights_fingerprint": served.weights_fingerprint,
    }


@dg.asset(
    group_name=GROUP,
    deps=[*READ_BY_GATES, recipe_section("judge")],
    pool=GPU,
    automation_condition=behind_training(),
    description="Grades from 1 to 10 of base model, candidate and what serves now, on the same held-out examples.",
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
    adapter, base = only_record(Adapter, adapters), only_record(BaseModel, base_models)
    judge = installation.recipe.judge
    with errors_for_people():
        stored = set_learned_from(installation, adapter.instruction_set_fingerprint)
        models = {**model_request(installation, adapter, base), **incumbent_of(installation, adapter)}
    request = {
        "action": "grade",
        **models,
        "instruction_set": str(stored.folder / "instruction_set.parquet"),
        "test_examples": judge.test_examples,
        "max_new_tokens": judge.max_new_tokens,
        "engine": judge.engine,
        "judge": judge_request(installation.settings, judge),
    }
    table = worker.make_table(context, "judging", request)
    means = _means(table)
    shown = [{"model": model, **figures} for model, figures in means.items()]
    return result(
        "judge_scores",
        table,
        fingerprint_table(table),
        means=markdown_table(shown),
        **preferences_shown(preferences_in(table, models["incumbent"])),
        **{f"mean_{model}": figures["mean grade"] for model, figures in means.items()},
    )


def preferences_shown(found: Preferences | None) -> dict[str, Any]:
    """Metadata: which answers the judge prefers. Figures that are missing are absent."""
    if found is None:
        return {}
    figures = {"win_share": found.share, "win_share_low": found.low, "win_share_high": found.high}
    figures["consistent_when_swapped"] = found.consistent
    return {"preferences": in_words(found), **{name: value for name, value in figures.items() if value is not None}}


def _means(scores: pa.Table) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for model in sorted(set(scores.column("model").to_pylist())):
        rows = [row for row in records_of(JudgeScore, scores) if row.model == model]
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
    """One for each general task."""
    return sorted((installation.layout.evaluation / "abilities").glob("*.jsonl"))


@dg.asset(
    group_name=GROUP,
    deps=[ability_questions, recipe_section("abilities")],
    pool=GPU,
    automation_condition=behind_training(),
    description="What the candidate forgot of general tasks that were kept out of training.",
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
    adapter, base = only_record(Adapter, adapters), only_record(BaseModel, base_models)
    questions = question_files(installation)
    with errors_for_people():
        models = model_request(installation, adapter, base)
        budgets = ability_budgets([path.stem for path in questions], installation.recipe.gate)
    request = {
        "action": "abilities",
        **models,
        "questions": [str(path) for path in questions],
        "budgets": budgets,
        "items": installation.recipe.judge.ability_items,
    }
    table = worker.make_table(context, "judging", request)
    retained = records_of(RetainedAbility, table)
    changes = {f"change_{one.ability}": one.adapter_accuracy - one.base_accuracy for one in retained}
    shown = markdown_table(table.to_pylist())
    return result("retained_abilities", table, fingerprint_table(table), abilities=shown, **changes)


@dg.asset_check(asset="retained_abilities", description="No general task lost more than its budget.")
def abilities_are_within_budget(installation: Installation, retained_abilities: pa.Table) -> dg.AssetCheckResult:
    gate, names = installation.recipe.gate, [path.stem for path in question_files(installation)]
    return family_checked("abilities", families.abilities(retained_abilities, gate), names, gate)

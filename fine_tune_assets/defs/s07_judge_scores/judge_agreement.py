"""Stage 7: measures the judge on answers that people rated, and shows its qualification (see `judging/`).

For the organization's own ratings, the ratings are in the ledger, the answers in judge_scores, and the questions in the stored
instruction set.
"""

import logging
from collections.abc import Iterator, Mapping

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.fingerprints import combine, fingerprint_file, fingerprint_table, fingerprint_text, short
from fine_tune_assets.core.processes.worker_requests import MeasureJudgeRequest
from fine_tune_assets.defs.platform.automation import on_new_inputs
from fine_tune_assets.defs.platform.metadata import (
    OWNERS,
    check_result,
    definition_metadata,
    markdown_table,
    table_result,
    warning_result,
)
from fine_tune_assets.defs.platform.recipe_versions import code_version
from fine_tune_assets.defs.platform.resources import Installation, Worker
from fine_tune_assets.defs.s06_adapters.adapters import GPU, read_training_set
from fine_tune_assets.instructions.stored_sets import InstructionSetError
from fine_tune_assets.judging.judges.adaptation_record import read_adaptation
from fine_tune_assets.judging.judges.grades import (
    EvaluationExample,
    describe_blind_spots,
    gradable_answer,
)
from fine_tune_assets.judging.judges.judge_family import is_same_family
from fine_tune_assets.judging.judges.judge_qualification import MIN_RATINGS
from fine_tune_assets.judging.judges.judge_registry import judge_request
from fine_tune_assets.judging.judges.judge_weights import SHIPPED_FILE
from fine_tune_assets.judging.judges.label_grades import labels_by_task
from fine_tune_assets.judging.judges.labelled_sets import (
    RATED_SUMMARIES,
    OwnRating,
    build_own_expert_sets,
    current_fingerprints,
    own_ratings_table,
)
from fine_tune_assets.judging.judges.own_agreement import pooled_fingerprint
from fine_tune_assets.judging.judges.own_domain import OwnEvidence, needs_own_ratings, prose_tasks
from fine_tune_assets.judging.judges.own_measurement import own_examples, own_examples_table
from fine_tune_assets.judging.judges.planted_errors.own_error_detection import fingerprint_examples
from fine_tune_assets.judging.judges.planted_errors.own_errors import OwnExample
from fine_tune_assets.judging.judges.rubrics import read_recipe_rubric
from fine_tune_assets.judging.judges.verifier.verifier_files import SHIPPED_FOLDER, WEIGHTS_FILE
from fine_tune_assets.judging.judges.word_overlap import word_overlap
from fine_tune_assets.judging.verdicts.judge_status import JudgeRequirements, judge_status
from fine_tune_assets.ledger.reviews.spot_check_ratings import SpotCheck, list_spot_checks
from fine_tune_assets.tables.judging_rows import JudgeAgreement
from fine_tune_assets.tables.record_classes import iter_records

GROUP = "s07_judge_scores"
_IGNORED_INPUTS = ("adapters", "judge_scores")
LOGGER = logging.getLogger(__name__)
_COLUMNS = (
    "labelled_set",
    "task",
    "human_measure",
    "criterion",
    "answer_count",
    "ungraded_count",
    "spearman",
    "spearman_low",
    "spearman_high",
    "auroc",
    "blind_auroc",
    "missing_reason",
)

expert_ratings = dg.AssetSpec(
    "expert_ratings",
    group_name=GROUP,
    description="Answers that people rated: the labelled set (`data/evaluation/judge`) and the experts' blind "
    "ratings from the desk. They measure the judge.",
    owners=OWNERS["clinical"],
    kinds={"csv", "sqlite"},
)


@dg.asset(
    group_name=GROUP,
    deps=[*_IGNORED_INPUTS, expert_ratings],
    pool=GPU,
    # The version of `expert_ratings` changes with the answers.
    automation_condition=on_new_inputs(ignored=_IGNORED_INPUTS),
    description="How far the judge's grades agree with people's.",
    owners=OWNERS["clinical"],
    kinds={"parquet"},
    metadata=definition_metadata("judge_agreement"),
    code_version=code_version(
        "judge",
        "gate",
        own=short(
            combine([word_overlap().version, *map(fingerprint_file, (SHIPPED_FILE, SHIPPED_FOLDER / WEIGHTS_FILE))])
        ),
    ),
)
def judge_agreement(
    context: dg.AssetExecutionContext, installation: Installation, worker: Worker
) -> dg.MaterializeResult[pa.Table]:
    ratings, needs_own = own_ratings(installation), needs_own_ratings(installation.recipe)
    if needs_own:
        ratings = [one for one in ratings if one.task in prose_tasks(installation.recipe)]
    with installation.scratch(context, "own_ratings", "own_examples") as (own, examples):
        if ratings:
            write_table(own, own_ratings_table(ratings))
        if needs_own:
            write_table(examples, own_examples_table(own_test_examples(installation)))
        request: MeasureJudgeRequest = {
            "action": "measure_judge",
            "labelled_sets": str(installation.layout.evaluation / "judge"),
            "own_ratings": str(own) if ratings else "",
            "own_examples": str(examples) if needs_own else "",
            "accept_score": installation.recipe.judge.accept_score,
            "judge": judge_request(installation.settings, installation.recipe),
        }
        table = worker.make_table(context, "judging", request)
    figures = _shipped_figures(table, _judge_version(table))
    shown = markdown_table(table.select(_COLUMNS).to_pylist())
    blind = describe_blind_spots(installation.recipe.judge.kind, has_reference=True)
    return table_result("judge_agreement", table, fingerprint_table(table), metrics=shown, blind_spots=blind, **figures)


def _shipped_figures(table: pa.Table, version: str) -> dict[str, float]:
    """The judge's own figures on the shipped ratings, by name."""
    figures: dict[str, float] = {}
    for row in iter_records(JudgeAgreement, table):
        if row.labelled_set == RATED_SUMMARIES and row.judge_version == version:
            named = f"{row.criterion}_{row.human_measure}" if row.criterion else row.human_measure
            found = {"spearman": row.spearman, "auroc": row.auroc, "blind_auroc": row.blind_auroc}
            figures |= {f"{figure}_{named}": value for figure, value in found.items() if value is not None}
    return figures


@dg.asset_check(
    asset="judge_agreement",
    description="The judge agrees enough with people to decide about every task. A warning until there is a candidate to judge.",
)
def judge_is_qualified(installation: Installation, judge_agreement: pa.Table) -> dg.AssetCheckResult:
    status = judge_status(_judge_version(judge_agreement), judge_agreement, judge_requirements(installation))
    measured = {} if status.agreement is None else {"agreement": status.agreement}
    figures = {"floor": status.floor, "ungraded_criteria": ", ".join(status.ungraded_criteria), **measured}
    if not status.is_qualified and not installation.stored("adapters").rows(("adapter_id",)):
        # Not passed: no check of Dagster can end without a result, and a first verdict must find it open.
        reason = "Not needed yet: there is no candidate to judge. It is checked again after the first training."
        return warning_result(False, reason, until_then=status.failure_reason or "", **figures)
    return check_result(status.is_qualified, status.failure_reason, **figures)


def judge_requirements(installation: Installation) -> JudgeRequirements:
    """The tasks, floor and labelled sets for which the recipe's judge must be qualified."""
    recipe = installation.recipe
    tasks = tuple(task.name for task in recipe.tasks)
    return JudgeRequirements(
        recipe.judge.kind,
        recipe.judge.agreement_floor,
        tasks,
        current_labelled_sets(installation),
        rubric=read_recipe_rubric(recipe),
        is_same_family=is_same_family(recipe.judge, recipe.base_model, installation.settings.data_dir),
        label_tasks=frozenset(labels_by_task(recipe)),
        own=own_evidence(installation) if needs_own_ratings(recipe) else None,
    )


def own_evidence(installation: Installation) -> OwnEvidence:
    """What the qualification rests on in a domain without shipped ratings."""
    recipe, tasks = installation.recipe, prose_tasks(installation.recipe)
    examples = own_test_examples(installation)
    sets = [one for one in build_own_expert_sets(own_ratings(installation)) if one.task in tasks]
    rated = {one.task: len(one.rows) for one in sets}
    fingerprint, adaptation = fingerprint_examples(examples), read_adaptation(installation.layout.verifiers)
    is_current = adaptation is not None and adaptation.test_examples == fingerprint
    return OwnEvidence(
        domain=recipe.domain,
        floor=recipe.judge.agreement_floor,
        examples=fingerprint,
        subjects=len({one.subject for one in examples}),
        ratings=pooled_fingerprint(sets) if sets else "",
        rated={task: rated.get(task, 0) for task in tasks},
        spot_checks=recipe.judge.spot_checks,
        adapted=adaptation.verifier if adaptation is not None and is_current else None,
        verifier=recipe.judge.verifier,
    )


def own_test_examples(installation: Installation) -> list[OwnExample]:
    """The approved answers of the newest adapter's test split, which no verifier is trained on."""
    return own_examples(_test_examples(installation).values(), prose_tasks(installation.recipe))


def _judge_version(measured: pa.Table) -> str:
    """The version that was measured, which the verdict compares with the one that graded."""
    versions = set(measured.column("judge_version").to_pylist())
    return str(versions.pop()) if len(versions) == 1 else "several"


def current_labelled_sets(installation: Installation) -> dict[str, dict[str, str]]:
    """Task → name → current fingerprint of the labelled sets that a judge qualification may rest on."""
    shipped = current_fingerprints(installation.layout.evaluation / "judge")
    own = [found for found in build_own_expert_sets(own_ratings(installation)) if len(found.rows) >= MIN_RATINGS]
    return {
        task.name: {**shipped, **{found.name: found.fingerprint for found in own if found.task == task.name}}
        for task in installation.recipe.tasks
    }


def own_ratings(installation: Installation) -> list[OwnRating]:
    """Expert ratings of answers that are still stored. Texts of earlier candidates' answers are not kept."""
    with installation.ledger() as ledger:
        checks = list_spot_checks(ledger)
    if not checks:
        return []
    graded = installation.stored("judge_scores").rows(("example_id", "answer"))
    answers = {(row["example_id"], fingerprint_text(row["answer"])): row["answer"] for row in graded}
    examples = _test_examples(installation)
    found = [rating for check in checks for rating in _match_rating(check, answers, examples)]
    LOGGER.info("%d of %d expert ratings belong to answers that are still stored.", len(found), len(checks))
    return found


def _test_examples(installation: Installation) -> dict[str, EvaluationExample]:
    """The test examples of the newest adapter's instruction set; empty if a gate is closed or the set was removed."""
    adapters = installation.stored("adapters").rows(("instruction_set_fingerprint",))
    if not adapters:
        return {}
    try:
        stored = read_training_set(installation, adapters[0]["instruction_set_fingerprint"])
    except (GateClosedError, InstructionSetError):
        return {}
    tested = stored.table.filter(pc.equal(stored.table.column("split"), "test"))
    return {example.example_id: example for example in iter_records(EvaluationExample, tested)}


def _match_rating(
    check: SpotCheck, answers: Mapping[tuple[str, str], str], examples: Mapping[str, EvaluationExample]
) -> Iterator[OwnRating]:
    text = answers.get((check.example_id, check.answer_fingerprint))
    example = examples.get(check.example_id)
    if text is not None and example is not None:
        answered = gradable_answer(example, check.answer_id, text)
        yield OwnRating(check.task, float(check.score), answered, check.criteria)

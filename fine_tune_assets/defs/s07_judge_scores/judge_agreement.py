"""Stage 7: may the judge decide?

Belongs here: measuring the judge on answers that people rated, its own experts among them (who rated is in the ledger, what was
answered in judge_scores, what was asked in the stored set), and showing its licence. Must stay out: how agreement is measured and
when a licence is given (see `judging/`).
"""

import logging
from collections.abc import Iterator, Mapping

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.fingerprints import fingerprint_table, fingerprint_text, short
from fine_tune_assets.defs.platform.automation import on_new_inputs
from fine_tune_assets.defs.platform.metadata import OWNERS, checked, definition_metadata, markdown_table, result
from fine_tune_assets.defs.platform.recipe_sections import recipe_section
from fine_tune_assets.defs.platform.resources import Installation, Worker
from fine_tune_assets.defs.s06_adapters.adapters import GPU, READ_BY_GATES, set_learned_from
from fine_tune_assets.instructions.stored_sets import InstructionSetError
from fine_tune_assets.judging.judges.grades import Answered, AskedExample, as_asked, what_it_cant_see
from fine_tune_assets.judging.judges.labelled_sets import (
    RATED_SUMMARIES,
    own_expert_sets,
    own_ratings_table,
    present_fingerprints,
)
from fine_tune_assets.judging.judges.offline_judge import offline_judge
from fine_tune_assets.judging.judges.qualification import MINIMUM_RATINGS
from fine_tune_assets.judging.judges.registry import judge_request
from fine_tune_assets.judging.verdicts.evidence import JudgeAsked, standing_of
from fine_tune_assets.ledger.reviews.spot_checks import SpotCheck, list_spot_checks
from fine_tune_assets.tables.judging import JudgeAgreement
from fine_tune_assets.tables.records import records_of

GROUP = "s07_judge_scores"
_ONLY_READ = (*READ_BY_GATES, "adapters", "judge_scores")
LOGGER = logging.getLogger(__name__)
Rating = tuple[str, float, Answered]
"""Task, the expert's score from 1 to 10, and the answer."""
_SHOWN = (
    "labelled_set",
    "task",
    "human_measure",
    "answers",
    "missing",
    "spearman",
    "low",
    "high",
    "accuracy",
    "kappa",
    "why",
)

rated_answers = dg.AssetSpec(
    "rated_answers",
    group_name=GROUP,
    description="Machine-written answers that people rated or chose from (`data/evaluation/judge`). They measure the judge.",
    owners=OWNERS["clinical"],
    kinds={"csv"},
)

expert_ratings = dg.AssetSpec(
    "expert_ratings",
    group_name=GROUP,
    description="Experts' blind ratings of judged answers, made in the desk. Kept in the ledger; each names its rater.",
    owners=OWNERS["clinical"],
    kinds={"sqlite"},
)


@dg.asset(
    group_name=GROUP,
    deps=[*_ONLY_READ, rated_answers, expert_ratings, recipe_section("judge"), recipe_section("gate")],
    pool=GPU,
    # The version of `expert_ratings` tells when the answers are others.
    automation_condition=on_new_inputs(untriggered=_ONLY_READ),
    description="How well the judge's grades and choices agree with those of people.",
    owners=OWNERS["clinical"],
    kinds={"parquet"},
    metadata=definition_metadata("judge_agreement"),
    code_version=short(offline_judge().version),
)
def judge_agreement(
    context: dg.AssetExecutionContext, installation: Installation, worker: Worker
) -> dg.MaterializeResult[pa.Table]:
    ratings = own_ratings(installation)
    with installation.scratch(context, "own_ratings") as (own,):
        if ratings:
            write_table(own, own_ratings_table(ratings))
        request = {
            "action": "measure_agreement",
            "labelled_sets": str(installation.layout.evaluation / "judge"),
            "own_ratings": str(own) if ratings else "",
            "accept_score": installation.recipe.judge.accept_score,
            "judge": judge_request(installation.settings, installation.recipe.judge),
        }
        table = worker.make_table(context, "judging", request)
    figures = {
        f"spearman_{row.human_measure}": row.spearman
        for row in records_of(JudgeAgreement, table)
        if row.labelled_set == RATED_SUMMARIES and row.spearman is not None
    }
    shown = markdown_table(table.select(_SHOWN).to_pylist())
    blind = what_it_cant_see(installation.recipe.judge.kind, has_reference=True)
    return result("judge_agreement", table, fingerprint_table(table), figures=shown, cannot_see=blind, **figures)


@dg.asset_check(
    asset="judge_agreement",
    description="The judge agrees with people well enough to decide, on every task of the recipe.",
)
def judge_may_decide(installation: Installation, judge_agreement: pa.Table) -> dg.AssetCheckResult:
    standing = standing_of(_judge_version(installation, judge_agreement), judge_agreement, judge_asked(installation))
    measured = {} if standing.agreement is None else {"agreement": standing.agreement}
    return checked(standing.licensed, standing.why_not, floor=standing.floor, **measured)


def judge_asked(installation: Installation) -> JudgeAsked:
    """What the recipe's judge must have a licence for."""
    recipe = installation.recipe
    tasks = tuple(task.name for task in recipe.tasks)
    return JudgeAsked(recipe.judge.kind, recipe.judge.agreement_floor, tasks, labelled_sets_of_now(installation))


def _judge_version(installation: Installation, measured: pa.Table) -> str:
    """Of the judge of now. Of one that has to be reached or started: of the one that was measured, which a verdict compares with
    the one that graded."""
    if installation.recipe.judge.kind == "offline":
        return offline_judge().version
    versions = set(measured.column("judge_version").to_pylist())
    return str(versions.pop()) if len(versions) == 1 else "several"


def labelled_sets_of_now(installation: Installation) -> dict[str, dict[str, str]]:
    """Task → name and fingerprint of what a judge's licence for it may rest on, as it is at this moment."""
    shipped = present_fingerprints(installation.layout.evaluation / "judge")
    own = [found for found in own_expert_sets(own_ratings(installation)) if len(found.rows) >= MINIMUM_RATINGS]
    return {
        task.name: {**shipped, **{found.name: found.fingerprint for found in own if found.task == task.name}}
        for task in installation.recipe.tasks
    }


def own_ratings(installation: Installation) -> list[Rating]:
    """Ratings of answers that are still there. Those of an earlier candidate are in the ledger, and their texts nowhere."""
    with installation.ledger() as ledger:
        checks = list_spot_checks(ledger)
    if not checks:
        return []
    graded = installation.stored("judge_scores").rows(("example_id", "answer"))
    answers = {(row["example_id"], fingerprint_text(row["answer"])): row["answer"] for row in graded}
    examples = _examples(installation)
    found = [rating for check in checks for rating in _rating(check, answers, examples)]
    LOGGER.info("%d of %d ratings by experts are of answers that are still there.", len(found), len(checks))
    return found


def _examples(installation: Installation) -> dict[str, AskedExample]:
    """Of the set that the newest adapter was trained on; none if nothing of it may be judged any more."""
    adapters = installation.stored("adapters").rows(("instruction_set_fingerprint",))
    if not adapters:
        return {}
    try:
        stored = set_learned_from(installation, adapters[0]["instruction_set_fingerprint"])
    except (GateClosedError, InstructionSetError):
        return {}
    tested = stored.table.filter(pc.equal(stored.table.column("split"), "test"))
    return {example.example_id: example for example in records_of(AskedExample, tested)}


def _rating(
    check: SpotCheck, answers: Mapping[tuple[str, str], str], examples: Mapping[str, AskedExample]
) -> Iterator[Rating]:
    text = answers.get((check.example_id, check.answer_fingerprint))
    example = examples.get(check.example_id)
    if text is not None and example is not None:
        yield check.task, float(check.score), as_asked(example, check.answer_id, text)

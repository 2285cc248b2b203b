"""Page on the agreement of blind reviewers, and of experts' blind ratings with the judge's grades.

A user who may still rate an answer of the sample does not see the comparison with the judge. `approval` computes the same figures
and verdict for the check `reviewer_agreement_meets_floor`.
"""

from dataclasses import dataclass

from starlette.responses import Response

from fine_tune_assets.approval.reviewer_agreement import (
    count_stored_expert_examples,
    describe_floor,
    evaluate_agreement,
)
from fine_tune_assets.core.permissions import Action, may
from fine_tune_assets.desk.desk_context import Desk
from fine_tune_assets.desk.pages.spot_check_pages import list_unrated, select_answers_to_rate
from fine_tune_assets.desk.readable_names import sentence_case
from fine_tune_assets.desk.rendering import render_page
from fine_tune_assets.desk.request_context import RequestContext
from fine_tune_assets.judging.judges.spot_check_sample import RatingComparison, compare_ratings
from fine_tune_assets.ledger.reviews.spot_check_ratings import list_spot_checks


@dataclass(frozen=True)
class JudgeComparison:
    unrated: int
    """Answers that the user may still rate; if there are any, the page shows nothing else."""
    by_task: dict[str, RatingComparison]
    """Starts with `all tasks`; empty if nothing was graded or rated."""


def compare_with_judge(desk: Desk, context: RequestContext) -> JudgeComparison | None:
    """None if the user may not see it."""
    if not may(context.user.roles, Action.COMPARE_RATINGS):
        return None
    judged = desk.judged_answers.latest()
    if judged is None:
        return JudgeComparison(0, {})
    if may(context.user.roles, Action.REVIEW):
        unrated = len(list_unrated(desk, context.user.name, select_answers_to_rate(desk, judged)))
        if unrated:
            return JudgeComparison(unrated, {})
    found = [check for check in list_spot_checks(desk.ledger) if check.answer_id in judged.answers]
    if not found:
        return JudgeComparison(0, {})
    tasks = {"all tasks": found}
    for check in found:
        tasks.setdefault(check.task or "no task", []).append(check)
    return JudgeComparison(
        0,
        {
            task: compare_ratings([(c.rater, c.answer_id, c.score) for c in checks], judged.answers)
            for task, checks in tasks.items()
        },
    )


def show_agreement(desk: Desk, context: RequestContext) -> Response:
    rules, figures = desk.read_review_settings(), desk.agreement.latest()
    verdict = None
    if figures is not None:
        by_experts = count_stored_expert_examples(desk.settings.layout.table("approved_examples"))
        verdict = evaluate_agreement(figures.report.overall, rules, by_experts)
    return render_page(
        desk,
        context,
        "agreement.html",
        figures=figures,
        tasks={} if figures is None else {sentence_case(k): v for k, v in figures.report.by_task.items()},
        rules=rules,
        verdict=verdict,
        floor=describe_floor(rules),
        judge=compare_with_judge(desk, context),
    )

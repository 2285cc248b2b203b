"""How well reviewers agree who did not know of each other, and how experts' blind ratings compare with the judge's grades.

Owns that whoever may still rate an answer of the sample learns nothing of the grades before. The figures and the verdict are
`approval`'s, and are those of the check `reviewers_agree`.
"""

from dataclasses import dataclass

from starlette.responses import Response

from fine_tune_assets.approval.agreement import count_stored_expert_examples, floor_in_words, judge_agreement
from fine_tune_assets.desk.application import Desk
from fine_tune_assets.desk.pages.spot_check_pages import answers_to_rate, left_for
from fine_tune_assets.desk.rendering import page
from fine_tune_assets.desk.visits import Visit
from fine_tune_assets.judging.judges.spot_checks import Comparison, compare
from fine_tune_assets.ledger.reviews.spot_checks import list_spot_checks


@dataclass(frozen=True)
class BesideJudge:
    left: int
    """Answers that the visitor may still rate; where there are any, nothing else is told."""
    by_task: dict[str, Comparison]
    """With `all tasks` first; empty where nothing was judged or rated."""


def beside_judge(desk: Desk, visit: Visit) -> BesideJudge | None:
    """None for whoever is no approver."""
    if "approver" not in visit.who.roles:
        return None
    judged = desk.judged.latest()
    if judged is None:
        return BesideJudge(0, {})
    if "reviewer" in visit.who.roles:
        left = len(left_for(desk, visit.who.name, answers_to_rate(desk, judged)))
        if left:
            return BesideJudge(left, {})
    found = [check for check in list_spot_checks(desk.ledger) if check.answer_id in judged.answers]
    if not found:
        return BesideJudge(0, {})
    tasks = {"all tasks": found}
    for check in found:
        tasks.setdefault(check.task or "no task", []).append(check)
    return BesideJudge(
        0,
        {
            task: compare([(c.rater, c.answer_id, c.score) for c in checks], judged.answers)
            for task, checks in tasks.items()
        },
    )


def show_agreement(desk: Desk, visit: Visit) -> Response:
    rules, figures = desk.rules(), desk.agreement.latest()
    verdict = None
    if figures is not None:
        by_experts = count_stored_expert_examples(desk.settings.layout.table("approved_examples"))
        verdict = judge_agreement(figures.report.overall, rules, by_experts)
    return page(
        desk,
        visit,
        "agreement.html",
        figures=figures,
        rules=rules,
        verdict=verdict,
        floor=floor_in_words(rules),
        judge=beside_judge(desk, visit),
    )

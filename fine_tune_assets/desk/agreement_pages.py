"""How well reviewers agree who did not know of each other, by reviewer and task, and whether the gate is open.

The figures and the verdict are `approval`'s, and are those of the check `reviewers_agree`.
"""

from typing import TYPE_CHECKING

from starlette.responses import Response

from fine_tune_assets.approval.agreement import count_stored_expert_examples, floor_in_words, judge_agreement
from fine_tune_assets.desk.beside_judge import beside_judge
from fine_tune_assets.desk.rendering import page
from fine_tune_assets.desk.visits import Visit

if TYPE_CHECKING:
    from fine_tune_assets.desk.application import Desk


def show_agreement(desk: "Desk", visit: Visit) -> Response:
    rules, figures = desk.rules(), desk.agreement.latest()
    report = verdict = None
    if figures is not None:
        report = figures.report
        by_experts = count_stored_expert_examples(desk.settings.layout.table("approved_examples"))
        verdict = judge_agreement(report.overall, rules, by_experts)
    floor = floor_in_words(rules)
    return page(
        desk,
        visit,
        "agreement.html",
        figures=figures,
        report=report,
        rules=rules,
        verdict=verdict,
        floor=floor,
        judge=beside_judge(desk, visit),
    )

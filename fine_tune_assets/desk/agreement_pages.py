"""How well reviewers agree who did not know of each other, by reviewer and task. The figures are `approval`'s."""

from typing import TYPE_CHECKING

from starlette.responses import Response

from fine_tune_assets.approval.agreement import judge_agreement
from fine_tune_assets.desk.rendering import page
from fine_tune_assets.desk.visits import Visit

if TYPE_CHECKING:
    from fine_tune_assets.desk.application import Desk


def show_agreement(desk: "Desk", visit: Visit) -> Response:
    rules, figures = desk.rules(), desk.agreement.latest()
    if figures is None:
        return page(desk, visit, "agreement.html", figures=None, report=None, rules=rules, verdict=None)
    report = figures.report
    verdict = judge_agreement(report.overall, rules, expert_examples=report.overall.pairs)
    return page(desk, visit, "agreement.html", figures=figures, report=report, rules=rules, verdict=verdict)

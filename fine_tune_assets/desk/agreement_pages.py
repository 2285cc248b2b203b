"""How well reviewers agree who did not know of each other, by reviewer and task. The figures are `approval`'s."""

from typing import TYPE_CHECKING

from starlette.responses import Response

from fine_tune_assets.approval.agreement import judge_agreement, measure, pairs_of
from fine_tune_assets.desk.rendering import page
from fine_tune_assets.desk.visits import Visit
from fine_tune_assets.ledger.reviews import list_decisions

if TYPE_CHECKING:
    from fine_tune_assets.desk.application import Desk


def show_agreement(desk: "Desk", visit: Visit) -> Response:
    decisions, rules = list_decisions(desk.ledger), desk.rules()
    report = measure(pairs_of(decisions))
    return page(
        desk,
        visit,
        "agreement.html",
        report=report,
        rules=rules,
        verdict=judge_agreement(report.overall, rules, len(decisions)),
    )

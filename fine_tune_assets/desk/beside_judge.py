"""How experts' blind ratings and the judge's grades compare, for approvers.

Owns who is told, and when: whoever may still rate an answer of this sample learns nothing of the grades before.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fine_tune_assets.desk.answers_to_rate import answers_to_rate, left_for
from fine_tune_assets.desk.visits import Visit
from fine_tune_assets.judging.spot_checks import Comparison, compare
from fine_tune_assets.ledger.spot_checks import list_spot_checks

if TYPE_CHECKING:
    from fine_tune_assets.desk.application import Desk


@dataclass(frozen=True)
class BesideJudge:
    left: int
    """Answers that the visitor may still rate; where there are any, nothing else is told."""
    by_task: dict[str, Comparison]
    """With `all tasks` first; empty where nothing was judged or rated."""


def beside_judge(desk: "Desk", visit: Visit) -> BesideJudge | None:
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

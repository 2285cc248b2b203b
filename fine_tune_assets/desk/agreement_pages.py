"""How well reviewers agree who did not know of each other, and how experts' blind ratings compare with the judge's grades.

Owns when the figures are counted again, which is beside the pages, since over many decisions it takes longer than a page may; and
that whoever may still rate an answer of the sample learns nothing of the grades before. The figures and the verdict are
`approval`'s, and are those of the check `reviewers_agree`.
"""

import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import sqlalchemy as sa
from starlette.responses import Response

from fine_tune_assets.approval.agreement import (
    AgreementReport,
    count_stored_expert_examples,
    floor_in_words,
    judge_agreement,
    measured,
)
from fine_tune_assets.desk.judged_answers import answers_to_rate, left_for
from fine_tune_assets.desk.rendering import page
from fine_tune_assets.desk.visits import Visit
from fine_tune_assets.judging.spot_checks import Comparison, compare
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.schema import decisions, revocations
from fine_tune_assets.ledger.spot_checks import list_spot_checks

if TYPE_CHECKING:
    from fine_tune_assets.desk.application import Desk

_PATIENCE_SECONDS = 0.03
"""How long a page waits for new figures: with few decisions they are there at once."""


@dataclass(frozen=True)
class Figures:
    report: AgreementReport
    counted_at: datetime
    is_of_now: bool


class AgreementFigures:
    """Safe to share between threads. One counts at a time."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger, self._lock = ledger, threading.Lock()
        self._known: tuple[tuple[int | None, int | None], Figures] | None = None
        self._counting: threading.Thread | None = None

    def latest(self) -> Figures | None:
        """The newest figures that are there; None while the first ones are being counted."""
        seen = self._seen()
        with self._lock:
            if self._known is not None and self._known[0] == seen:
                return self._known[1]
            if self._counting is None or not self._counting.is_alive():
                self._counting = threading.Thread(target=self._count, args=(seen,), daemon=True)
                self._counting.start()
            counting = self._counting
        counting.join(_PATIENCE_SECONDS)
        with self._lock:
            known = self._known
        if known is None:
            return None
        return Figures(known[1].report, known[1].counted_at, is_of_now=known[0] == seen)

    def _seen(self) -> tuple[int | None, int | None]:
        newest = (sa.select(sa.func.max(table.c.sequence)).scalar_subquery() for table in (decisions, revocations))
        with self._ledger.read() as connection:
            made, taken_back = connection.execute(sa.select(*newest)).one()
        return made, taken_back

    def _count(self, seen: tuple[int | None, int | None]) -> None:
        counted_at = datetime.now(UTC)
        report = measured(self._ledger)
        with self._lock:
            self._known = (seen, Figures(report, counted_at, is_of_now=True))


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


def show_agreement(desk: "Desk", visit: Visit) -> Response:
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

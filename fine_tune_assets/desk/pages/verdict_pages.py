"""Verdicts on candidates: why each may be served or may not, with its figures and plots; and signing one that is on hold.

Owns the pages only. What a verdict says is `judging`'s, what a signature is worth the ledger's: a refusal can't be signed.
"""

from collections.abc import Mapping
from itertools import groupby
from typing import Any

from pydantic import ValidationError
from starlette.responses import Response

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.missing_grades import why_unsignable
from fine_tune_assets.core.records import CANDIDATE_KEY
from fine_tune_assets.desk.application import Desk
from fine_tune_assets.desk.errors import not_found
from fine_tune_assets.desk.plots import WIDTH, at_correlation, figure_intervals, histogram
from fine_tune_assets.desk.rendering import go_to, page
from fine_tune_assets.desk.visits import Visit
from fine_tune_assets.judging.verdicts.evidence import Evidence, read_evidence
from fine_tune_assets.judging.verdicts.figures import Family
from fine_tune_assets.ledger.errors import LedgerError
from fine_tune_assets.ledger.serving.verdict_documents import require_document
from fine_tune_assets.ledger.serving.verdict_records import VerdictRecord, find_verdict, verdict_lines
from fine_tune_assets.ledger.serving.verdicts import require_promotion, sign_hold

PAGE_LINES = 50
LONGEST_REASON = 2000
"""Characters."""
FAMILIES: Mapping[Family, str] = {
    "target": "The task itself",
    "abilities": "General abilities",
    "safety": "Safety",
    "checks": "Clinical checks",
    "subgroups": "Subgroups",
    "robustness": "Robustness",
}
MEANING = "I have read every reason and figure above, and take the responsibility for letting this candidate serve."


def show_verdicts(desk: Desk, visit: Visit) -> Response:
    before = visit.number("before")
    rows = verdict_lines(desk.ledger, before=before, limit=PAGE_LINES + 1)
    return page(
        desk,
        visit,
        "verdicts.html",
        rows=rows[:PAGE_LINES],
        is_older=len(rows) > PAGE_LINES,
        is_paged=before is not None,
    )


def show_verdict(desk: Desk, visit: Visit, refusal: str = "", status: int = 200) -> Response:
    found = find_verdict(desk.ledger, visit.path("verdict_id"))
    if found is None:
        raise not_found()
    try:
        document = read_evidence(found.verdict.evidence)
    except ValidationError:  # the page says that this version can't read it
        document = None
    return page(
        desk,
        visit,
        "verdict.html",
        status=status,
        record=found,
        verdict=found.verdict,
        document=document,
        **({} if document is None else _shown(document)),
        closed=_why_closed(desk, found),
        may_sign=_may_sign(visit, found),
        unsignable=found.verdict.decision == "hold" and bool(why_unsignable(found.verdict.evidence)),
        meaning=MEANING,
        longest=LONGEST_REASON,
        refusal=refusal,
        typed=visit.form.text("reason"),
    )


def sign(desk: Desk, visit: Visit) -> Response:
    """An approver takes the responsibility for a candidate that is on hold, by name and with a reason."""
    verdict_id, reason = visit.path("verdict_id"), visit.form.text("reason").strip()
    if find_verdict(desk.ledger, verdict_id) is None:
        raise not_found()
    if len(reason) > LONGEST_REASON:
        return show_verdict(desk, visit, f"A reason has at most {LONGEST_REASON} characters. Nothing was signed.", 400)
    try:
        sign_hold(desk.ledger, verdict_id, visit.who.name, reason)
    except GateClosedError as error:
        return show_verdict(desk, visit, str(error), 409)
    except LedgerError as error:
        return show_verdict(desk, visit, str(error), 400)
    return go_to(f"/verdicts/{verdict_id}?said=signed")


def _shown(document: Evidence) -> dict[str, Any]:
    """What the template shows of a document besides its own fields; a plot is None or empty where there is nothing to draw."""
    judge, grades = document.judge, document.distributions
    plots = {
        "width": WIDTH,
        "grades": histogram(grades.candidate, grades.incumbent),
        "differences": histogram(grades.differences),
        "intervals": figure_intervals([figure for figure in document.figures if figure.family != "abilities"]),
        "forgetting": figure_intervals(document.of("abilities")),
        "agreement": None if judge.agreement is None else at_correlation(judge.agreement),
        "floor": at_correlation(judge.floor),
        "scale": [(at_correlation(value), f"{value:g}") for value in (-1, -0.5, 0, 0.5, 1)],
    }
    families = groupby(document.figures, key=lambda figure: figure.family)
    return {
        "plots": plots,
        "families": [(FAMILIES[name], list(figures)) for name, figures in families],
        "thresholds": {name: _in_words(value) for name, value in document.gate.items()},
    }


def _in_words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {inner}" for name, inner in value.items()) or "none"
    return (", ".join(map(str, value)) or "none") if isinstance(value, list) else str(value)


def _why_closed(desk: Desk, found: VerdictRecord) -> str:
    """What still keeps a candidate back that the verdict or a signature would let through; empty if nothing does."""
    verdict = found.verdict
    if not found.is_newest or not (verdict.decision == "promote" or (verdict.decision == "hold" and found.is_signed)):
        return ""
    try:
        require_promotion(desk.ledger, **{name: getattr(verdict, name) for name in CANDIDATE_KEY})
        require_document(desk.settings.layout.verdicts, desk.settings.layout.keys, verdict)
    except GateClosedError as error:
        return str(error)
    return ""


def _may_sign(visit: Visit, found: VerdictRecord) -> bool:
    """What the page offers; the ledger decides."""
    is_open = found.verdict.decision == "hold" and found.is_newest and found.is_whole
    is_open = is_open and not why_unsignable(found.verdict.evidence)
    return (
        is_open
        and "approver" in visit.who.roles
        and all(signature.approver != visit.who.name for signature in found.signatures if signature.counts)
    )

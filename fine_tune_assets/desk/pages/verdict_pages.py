"""Pages of verdicts: reasons, metrics and plots of each candidate, and the form to sign a hold.

`judging` makes verdicts. The ledger enforces who may sign; a refusal can't be signed.
"""

from collections.abc import Mapping
from itertools import groupby
from typing import Any

from pydantic import ValidationError
from starlette.responses import Response

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.missing_grades import explain_unsignable
from fine_tune_assets.core.permissions import Action, may
from fine_tune_assets.core.shared_records import CANDIDATE_KEY, Verdict
from fine_tune_assets.desk.desk_context import Desk
from fine_tune_assets.desk.error_pages import not_found
from fine_tune_assets.desk.pages.graded_answer_pages import find_criteria
from fine_tune_assets.desk.plot_geometry import WIDTH, make_histogram, make_metric_intervals, place_correlation
from fine_tune_assets.desk.rendering import redirect_to, render_page
from fine_tune_assets.desk.request_context import RequestContext
from fine_tune_assets.judging.verdicts.evidence import Evidence, read_evidence
from fine_tune_assets.judging.verdicts.example_reuse import describe_reuse, summarize_reuse
from fine_tune_assets.judging.verdicts.verdict_metrics import Family
from fine_tune_assets.ledger.ledger_errors import LedgerError
from fine_tune_assets.ledger.serving.verdict_documents import require_document
from fine_tune_assets.ledger.serving.verdict_records import VerdictRecord, find_verdict, list_verdict_summaries
from fine_tune_assets.ledger.serving.verdicts import require_promotion, sign_hold

PAGE_LINES = 35
MAX_REASON_CHARACTERS = 2000
FAMILY_LABELS: Mapping[Family, str] = {
    "target": "All tasks together",
    "tasks": "Tasks",
    "abilities": "General abilities",
    "safety": "Safety",
    "checks": "Checks of answers",
    "subgroups": "Subgroups",
    "robustness": "Robustness",
    "documents": "Answers from documents",
}
SIGNATURE_MEANING = "I have read every reason and figure above, and I take responsibility for releasing this candidate."


def show_verdicts(desk: Desk, context: RequestContext) -> Response:
    before = context.query_number("before")
    rows = list_verdict_summaries(desk.ledger, before=before, limit=PAGE_LINES + 1)
    return render_page(
        desk,
        context,
        "verdicts.html",
        rows=rows[:PAGE_LINES],
        is_older=len(rows) > PAGE_LINES,
        is_paged=before is not None,
    )


def show_verdict(desk: Desk, context: RequestContext, refusal: str = "", status: int = 200) -> Response:
    found = find_verdict(desk.ledger, context.path_param("verdict_id"))
    if found is None:
        raise not_found()
    try:
        document = read_evidence(found.verdict.evidence)
    except ValidationError:  # written by another version; the page says so
        document = None
    return render_page(
        desk,
        context,
        "verdict.html",
        status=status,
        record=found,
        verdict=found.verdict,
        document=document,
        **({} if document is None else _make_document_context(document)),
        **_make_statement_context(desk, context, found.verdict),
        closed=_find_block_reason(desk, found),
        may_sign=_can_sign(context, found),
        unsignable=found.verdict.decision == "hold" and bool(explain_unsignable(found.verdict.evidence)),
        meaning=SIGNATURE_MEANING,
        longest=MAX_REASON_CHARACTERS,
        refusal=refusal,
        typed=context.form.get_text("reason"),
    )


def sign_verdict(desk: Desk, context: RequestContext) -> Response:
    """Record an approver's signature and reason for a candidate on hold."""
    verdict_id, reason = context.path_param("verdict_id"), context.form.get_text("reason").strip()
    if find_verdict(desk.ledger, verdict_id) is None:
        raise not_found()
    if len(reason) > MAX_REASON_CHARACTERS:
        return show_verdict(
            desk, context, f"A reason can have at most {MAX_REASON_CHARACTERS} characters. Nothing was signed.", 400
        )
    try:
        sign_hold(desk.ledger, verdict_id, context.user.name, reason)
    except GateClosedError as error:
        return show_verdict(desk, context, str(error), 409)
    except LedgerError as error:
        return show_verdict(desk, context, str(error), 400)
    return redirect_to(f"/verdicts/{verdict_id}?notice=signed")


def _make_statement_context(desk: Desk, context: RequestContext, verdict: Verdict) -> dict[str, Any]:
    """Counts of the answers' statements, without text. Only the newest comparison is stored with its answers."""
    summary = desk.grade_details.latest()
    compared = None if summary is None else (summary.adapter_id, summary.other_fingerprint)
    if summary is None or compared != (verdict.adapter_id, verdict.incumbent):
        return {"statements": {}, "sees_answers": False}
    counts = summary.count_statements(find_criteria(desk, "statements"))
    labels = {"candidate": "candidate", "other": "incumbent"}
    return {
        "statements": {labels[side]: counted for side, counted in counts.items() if counted[1]},
        "sees_answers": may(context.user.roles, Action.COMPARE_ANSWERS),
    }


def _make_document_context(document: Evidence) -> dict[str, Any]:
    """Template context derived from the evidence; a plot without data is None or empty."""
    judge, grades = document.judge, document.distributions
    plots = {
        "width": WIDTH,
        "grades": make_histogram(grades.candidate, grades.incumbent),
        "differences": make_histogram(grades.differences),
        "intervals": make_metric_intervals([figure for figure in document.metrics if figure.family != "abilities"]),
        "forgetting": make_metric_intervals(document.family_metrics("abilities")),
        "agreement": None if judge.agreement is None else place_correlation(judge.agreement),
        "floor": place_correlation(judge.floor),
        "scale": [(place_correlation(value), f"{value:g}") for value in (-1, -0.5, 0, 0.5, 1)],
    }
    families = [
        (name, FAMILY_LABELS[name], list(figures))
        for name, figures in groupby(document.metrics, key=lambda figure: figure.family)
        if name not in ("tasks", "subgroups")
    ]
    return {
        "plots": plots,
        "standings": [*document.family_metrics("tasks"), *document.family_metrics("subgroups")],
        "reuse": describe_reuse(summarize_reuse(document.test_uses.values())) if document.test_uses else "",
        "families": families,
        "family_anchors": [(name, label) for name, label, _ in families],
        "thresholds": {name: _format_threshold(value) for name, value in document.gate.items()},
    }


def _format_threshold(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {inner}" for name, inner in value.items()) or "none"
    return (", ".join(map(str, value)) or "none") if isinstance(value, list) else str(value)


def _find_block_reason(desk: Desk, found: VerdictRecord) -> str:
    """Why the gate blocks a candidate despite its verdict or signature; empty if it does not."""
    verdict = found.verdict
    if not found.is_newest or not (verdict.decision == "promote" or (verdict.decision == "hold" and found.is_signed)):
        return ""
    try:
        require_promotion(desk.ledger, **{name: getattr(verdict, name) for name in CANDIDATE_KEY})
        require_document(desk.settings.layout.verdicts, desk.settings.layout.keys, verdict)
    except GateClosedError as error:
        return str(error)
    return ""


def _can_sign(context: RequestContext, found: VerdictRecord) -> bool:
    """Whether the page offers to sign. The ledger enforces the rule."""
    is_open = found.verdict.decision == "hold" and found.is_newest and found.is_intact
    is_open = is_open and not explain_unsignable(found.verdict.evidence)
    return (
        is_open
        and may(context.user.roles, Action.SIGN_VERDICTS)
        and all(signature.approver != context.user.name for signature in found.signatures if signature.is_valid)
    )

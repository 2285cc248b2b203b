"""Pages of a user's own decisions: the list with the signed texts, revoking with a reason, and undoing within seconds.

A decision can be revoked by its author or by an approver, and undone only by its author. The ledger keeps both rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import MAXYEAR, UTC, datetime, timedelta
from types import MappingProxyType
from urllib.parse import urlencode

from starlette.responses import Response

from fine_tune_assets.approval.case_signatures import MAX_CASES
from fine_tune_assets.approval.review_actions import revoke
from fine_tune_assets.approval.sign_off import REASON_CODES
from fine_tune_assets.core.people import is_same_person
from fine_tune_assets.core.permissions import Action, may
from fine_tune_assets.desk.desk_context import Desk
from fine_tune_assets.desk.error_pages import forbidden, not_found
from fine_tune_assets.desk.pages.item_pages import keep_edit
from fine_tune_assets.desk.pages.mark_pages import list_own_marks
from fine_tune_assets.desk.pages.marked_text import DiffPiece, diff_words
from fine_tune_assets.desk.pages.queue_pages import STATE_LABELS, DraftOutput, read_query
from fine_tune_assets.desk.pages.sign_in_pages import validate_path
from fine_tune_assets.desk.rendering import redirect_to, render_page
from fine_tune_assets.desk.request_context import RequestContext
from fine_tune_assets.desk.undo import LIMIT_SECONDS, REASON, may_undo
from fine_tune_assets.ledger.ledger_errors import LedgerError
from fine_tune_assets.ledger.reviews.decision_records import (
    OUTCOMES,
    DecisionFilter,
    DecisionRecord,
    find_decision,
    list_reviewer_decisions,
)
from fine_tune_assets.ledger.reviews.review_items import find_items, is_decidable_by
from fine_tune_assets.ledger.reviews.review_rows import ReviewItem

PAGE_LINES = 25
MAX_COMPARED_CHARACTERS = 5_000
"""Longer texts are compared on the page of the item only: a list of them would take too long."""
OUTCOME_LABELS: Mapping[str, str] = MappingProxyType(
    {
        "approved": "approved as drafted",
        "repaired": "approved as repaired",
        "rejected": "rejected",
        "revoked": "revoked or undone",
    }
)
_TOO_LATE = (
    f"Nothing was undone: you signed more than {LIMIT_SECONDS} seconds ago. Revoke the decision here, with a reason."
)


@dataclass(frozen=True)
class DecisionQuery:
    outcome: str = ""
    since: str = ""
    """First day, such as `2026-11-30`."""
    until: str = ""
    """Last day."""

    def make_url(self, **more: object) -> str:
        fields = {name: value for name, value in {**vars(self), **more}.items() if value}
        return f"/decisions?{urlencode(fields)}" if fields else "/decisions"

    def to_filter(self) -> DecisionFilter:
        last = _parse_day(self.until)
        return DecisionFilter(
            self.outcome or None, _parse_day(self.since), None if last is None else last + timedelta(days=1)
        )


@dataclass(frozen=True)
class OwnDecision:
    """A decision with the text that was signed."""

    record: DecisionRecord
    state: str | None
    """State of the item; None if it was removed."""
    is_withheld: bool
    text: str | None
    """The signed output; None for a rejection, and if it is withheld or no longer stored."""
    rejected_text: str | None
    """The output of a rejected draft."""
    changes: list[DiffPiece]
    """The difference between the draft and a repair; empty if they are not compared."""
    report_number: str | None

    @property
    def is_undone(self) -> bool:
        return self.record.revocation_reason == REASON


def show_decisions(desk: Desk, context: RequestContext, refusal: str = "") -> Response:
    before, query = context.query_number("before"), _parse_query(context.request.query_params)
    rows = list_reviewer_decisions(
        desk.ledger, context.user.name, query.to_filter(), before=before, limit=PAGE_LINES + 1
    )
    return render_page(
        desk,
        context,
        "decisions.html",
        status=400 if refusal else 200,
        rows=_read_texts(desk, [row.record for row in rows[:PAGE_LINES]]),
        query=query,
        outcomes=OUTCOME_LABELS,
        states=STATE_LABELS,
        reasons=REASON_CODES,
        older=query.make_url(before=rows[PAGE_LINES - 1].sequence) if len(rows) > PAGE_LINES else "",
        is_paged=before is not None,
        refusal=refusal,
        marks=list_own_marks(desk, context),
    )


def _read_texts(desk: Desk, records: Sequence[DecisionRecord]) -> list[OwnDecision]:
    decisions = [record.decision for record in records]
    withheld = desk.withheld.decision_ids(records)
    drafts = desk.stored_texts.find_drafts({decision.example_id for decision in decisions}, DraftOutput)
    items = find_items(desk.ledger, {decision.example_id for decision in decisions})
    states = {key: item.state for key, item in items.items() if item.removed_at is None}
    numbers = desk.stored_texts.find_report_numbers(
        {decision.report_id for decision in decisions if decision.report_id}
    )
    return [
        _describe(
            record,
            states.get(record.decision.example_id),
            record.decision.decision_id in withheld,
            drafts.get(record.decision.example_id),
            numbers.get(record.decision.report_id or ""),
        )
        for record in records
    ]


def _describe(
    record: DecisionRecord, state: str | None, is_withheld: bool, draft: DraftOutput | None, report_number: str | None
) -> OwnDecision:
    decision = record.decision
    drafted = None if draft is None or is_withheld else draft.output
    repaired = None if is_withheld else decision.output
    is_rejected = decision.decision == "reject"
    return OwnDecision(
        record,
        state,
        is_withheld,
        text=None if is_rejected else drafted if decision.output is None else repaired,
        rejected_text=drafted if is_rejected else None,
        changes=[] if drafted is None or repaired is None else _compare(drafted, repaired),
        report_number=report_number,
    )


def _compare(drafted: str, repaired: str) -> list[DiffPiece]:
    return diff_words(drafted, repaired) if max(len(drafted), len(repaired)) <= MAX_COMPARED_CHARACTERS else []


def _parse_query(fields: Mapping[str, str]) -> DecisionQuery:
    """Unknown outcomes and days are ignored, and days of the last year: they may have no next day."""
    outcome = fields.get("outcome", "")
    days = {name: fields.get(name, "") for name in ("since", "until")}
    known = {name: day for name, day in days.items() if _parse_day(day) is not None}
    return DecisionQuery(outcome if outcome in OUTCOMES else "", **known)


def _parse_day(day: str) -> datetime | None:
    try:
        found = datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        return None
    return found if found.year < MAXYEAR else None


def revoke_decision(desk: Desk, context: RequestContext) -> Response:
    found = _find_record(desk, context.path_param("decision_id"))
    is_own = is_same_person(found.decision.reviewer, context.user.name)
    if not is_own and not may(context.user.roles, Action.REVOKE_ANY_DECISION):
        raise forbidden()
    try:
        item = revoke(
            desk.ledger,
            found.decision.decision_id,
            by=context.user.name,
            reason=context.form.get_text("reason"),
            rules=desk.read_review_settings(),
            now=context.now,
        )
    except LedgerError as error:
        return show_decisions(desk, context, refusal=str(error))
    notice = "trusted_again" if item is not None and item.state == "trusted" else "revoked"
    return redirect_to((validate_path(context.form.get_text("back")) or "/decisions") + f"?notice={notice}")


def undo_decisions(desk: Desk, context: RequestContext) -> Response:
    """Revoke the decisions of the viewer's last signature, all or none, and open their item again, with the text of a repair."""
    ids = list(dict.fromkeys(context.form.get_all("decision")))
    records = [_find_record(desk, decision_id) for decision_id in ids]
    if not records or len(records) > MAX_CASES:
        raise not_found()
    if any(not is_same_person(record.decision.reviewer, context.user.name) for record in records):
        raise forbidden()
    if not all(may_undo(record, context.user.name, context.now) for record in records):
        return show_decisions(desk, context, refusal=_TOO_LATE)
    rules, by = desk.read_review_settings(), context.user.name
    try:
        with desk.ledger.begin() as connection:
            for decision_id in ids:
                item = revoke(connection, decision_id, by=by, reason=REASON, rules=rules, now=context.now)
    except LedgerError as error:
        return show_decisions(desk, context, refusal=str(error))
    return _open_again(desk, context, item, records)


def _open_again(
    desk: Desk, context: RequestContext, item: ReviewItem | None, undone: Sequence[DecisionRecord]
) -> Response:
    """The item, unless it was removed or only another reviewer may decide on it now."""
    query, viewer = read_query(context), context.user.name
    if item is None or not is_decidable_by(desk.ledger, item.example_id, viewer):
        return redirect_to(query.make_url("/queue/next", notice="undone_closed"))
    if len(undone) > 1:
        return redirect_to(query.make_url(f"/items/{item.example_id}/identical", notice="undone_cases"))
    draft, repair = desk.stored_texts.find_draft(item.example_id), undone[0].decision.output
    if draft is not None and repair is not None:
        keep_edit(desk, context, item, draft, repair)
    return redirect_to(query.make_url(f"/items/{item.example_id}", notice="undone"))


def _find_record(desk: Desk, decision_id: str) -> DecisionRecord:
    with desk.ledger.read() as connection:
        found = find_decision(connection, decision_id)
    if found is None:
        raise not_found()
    return found

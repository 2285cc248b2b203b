"""Pages that trace an example from its report to the models trained on it, and a subject to the models that saw it.

The subject key is sent in a form, so that it never appears in a URL. A user who may still decide on an item sees only that other
users decided, and no sets or models of that item. The subject page always lists the models. `lineage` computes the steps: ids and
counts, never text.
"""

from starlette.responses import Response

from fine_tune_assets.approval.review_history import DecisionEntry, is_blind_review, list_history
from fine_tune_assets.core.permissions import Action, may
from fine_tune_assets.desk.desk_context import Desk
from fine_tune_assets.desk.error_pages import not_found
from fine_tune_assets.desk.pages.queue_pages import STATE_LABELS
from fine_tune_assets.desk.rendering import render_page
from fine_tune_assets.desk.request_context import RequestContext, can_adjudicate, can_see_all, find_hidden_examples
from fine_tune_assets.ledger.reviews.review_items import find_item
from fine_tune_assets.ledger.reviews.review_rows import ReviewItem
from fine_tune_assets.lineage.trace_records import ExampleTrace
from fine_tune_assets.lineage.traces import UnknownIdError, trace_example, trace_subject
from fine_tune_assets.recipes.domain_pack_schema import DomainPack
from fine_tune_assets.recipes.domain_packs import load_pack


def show_history(desk: Desk, context: RequestContext) -> Response:
    example_id = context.path_param("example_id")
    item = find_item(desk.ledger, example_id)
    if item is None:
        raise not_found()
    lines, hidden = _split_decisions(desk, context, example_id)
    is_hidden = bool(find_hidden_examples(desk, context, [example_id]))
    # A set or a model would reveal that the item was approved.
    trace = None if is_hidden else _find_trace(desk, example_id)
    origin = trace.report if trace and may(context.user.roles, Action.READ_REPORT_NAMES) else None
    return render_page(
        desk,
        context,
        "history.html",
        item=item,
        page_path=_find_page_path(context, item),
        lines=lines,
        hidden=hidden,
        is_hidden=is_hidden,
        trace=trace,
        states=STATE_LABELS,
        report_number=desk.stored_texts.find_report_numbers([item.report_id]).get(item.report_id),
        origin=origin,
        may_revoke=may(context.user.roles, Action.REVOKE_ANY_DECISION),
    )


def _find_page_path(context: RequestContext, item: ReviewItem) -> str:
    """The page on which this user may decide on the item; empty if there is none."""
    if item.removed_at is not None:
        return ""
    if may(context.user.roles, Action.REVIEW):
        return f"/items/{item.example_id}"
    is_theirs = item.state == "disagreement" and may(context.user.roles, Action.ADJUDICATE)
    return f"/disagreements/{item.example_id}" if is_theirs else ""


def _split_decisions(
    desk: Desk, context: RequestContext, example_id: str
) -> tuple[list[DecisionEntry], list[DecisionEntry]]:
    """The decisions that this user may read, and those that they may only know to exist."""
    every = list_history(desk.ledger, example_id, viewer=context.user.name, can_see_all=True)
    shown = list_history(
        desk.ledger,
        example_id,
        viewer=context.user.name,
        can_see_all=can_see_all(context),
        is_blind=is_blind_review(desk.read_review_settings()),
        can_adjudicate=can_adjudicate(context),
    )
    known = {line.decision_id for line in shown}
    return shown, [line for line in every if line.decision_id not in known]


def _find_trace(desk: Desk, example_id: str) -> ExampleTrace | None:
    try:
        return trace_example(desk.settings.layout, desk.ledger, example_id, set_cache=desk.set_cache)
    except UnknownIdError:
        return None


def show_subject_form(desk: Desk, context: RequestContext, typed: str = "", refusal: str = "") -> Response:
    status = 404 if refusal else 200
    return render_page(
        desk,
        context,
        "subject.html",
        words=_read_words(desk),
        status=status,
        typed=typed,
        trace=None,
        hidden=(),
        refusal=refusal,
        sees_names=may(context.user.roles, Action.READ_REPORT_NAMES),
    )


def show_subject(desk: Desk, context: RequestContext) -> Response:
    typed = context.form.get_text("subject_key").strip()
    try:
        trace = trace_subject(desk.settings.layout, desk.ledger, typed, desk.set_cache)
    except UnknownIdError as error:
        return show_subject_form(desk, context, typed, str(error))
    hidden = find_hidden_examples(desk, context, [example.example_id for example in trace.examples])
    return render_page(
        desk,
        context,
        "subject.html",
        words=_read_words(desk),
        typed=typed,
        trace=trace,
        hidden=hidden,
        refusal="",
        sees_names=may(context.user.roles, Action.READ_REPORT_NAMES),
    )


def _read_words(desk: Desk) -> DomainPack:
    """How the recipe's domain calls subjects and reports."""
    return load_pack(desk.read_recipe().domain).pack

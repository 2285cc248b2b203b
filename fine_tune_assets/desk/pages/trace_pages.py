"""The way of one example, from its report over draft and decisions to the models that learned from it; and which models saw a
patient, asked by patient key, which comes in a form: it stands in no address.

Owns that whoever may still decide sees of others' decisions only that they were made. Which models saw an example is shown: the
patient's question comes first. The steps are `lineage`'s: ids and counts, never text.
"""

from starlette.responses import Response

from fine_tune_assets.approval.review_history import DecisionLine, history, reviews_blind
from fine_tune_assets.desk.application import Desk
from fine_tune_assets.desk.errors import not_found
from fine_tune_assets.desk.pages.queue_pages import STATES
from fine_tune_assets.desk.rendering import page
from fine_tune_assets.desk.visits import Visit, examples_to_hide, may_see_all, may_settle
from fine_tune_assets.ledger.reviews.review_items import find_item
from fine_tune_assets.lineage.records import ExampleTrace
from fine_tune_assets.lineage.traces import UnknownIdError, trace_example, trace_patient


def show_history(desk: Desk, visit: Visit) -> Response:
    example_id = visit.path("example_id")
    item = find_item(desk.ledger, example_id)
    if item is None:
        raise not_found()
    lines, hidden = _lines(desk, visit, example_id)
    is_hidden = bool(examples_to_hide(desk, visit, [example_id]))
    # A set or a model tells that somebody approved it: that too is for later.
    trace = None if is_hidden else _trace(desk, example_id)
    # The report's id and its file may hold a name: for those who handle the files.
    origin = trace.report if trace and "operator" in visit.who.roles else None
    return page(
        desk,
        visit,
        "history.html",
        item=item,
        lines=lines,
        hidden=hidden,
        is_hidden=is_hidden,
        trace=trace,
        states=STATES,
        report_number=desk.texts.report_number(item.report_id),
        origin=origin,
    )


def _lines(desk: Desk, visit: Visit, example_id: str) -> tuple[list[DecisionLine], list[DecisionLine]]:
    """The decisions that this visit may read, and those of which it may know only that they were made."""
    every = history(desk.ledger, example_id, viewer=visit.who.name, may_see_all=True)
    shown = history(
        desk.ledger,
        example_id,
        viewer=visit.who.name,
        may_see_all=may_see_all(visit),
        is_blind=reviews_blind(desk.rules()),
        may_settle=may_settle(visit),
    )
    known = {line.decision_id for line in shown}
    return shown, [line for line in every if line.decision_id not in known]


def _trace(desk: Desk, example_id: str) -> ExampleTrace | None:
    try:
        return trace_example(desk.settings.layout, desk.ledger, example_id, known_sets=desk.known_sets)
    except UnknownIdError:
        return None


def ask_for_patient(desk: Desk, visit: Visit, asked: str = "", refusal: str = "") -> Response:
    status = 404 if refusal else 200
    return page(desk, visit, "patient.html", status=status, asked=asked, trace=None, hidden=(), refusal=refusal)


def show_patient(desk: Desk, visit: Visit) -> Response:
    asked = visit.form.text("patient_key").strip()
    try:
        trace = trace_patient(desk.settings.layout, desk.ledger, asked, desk.known_sets)
    except UnknownIdError as error:
        return ask_for_patient(desk, visit, asked, str(error))
    hidden = examples_to_hide(desk, visit, [example.example_id for example in trace.examples])
    return page(desk, visit, "patient.html", asked=asked, trace=trace, hidden=hidden, refusal="")

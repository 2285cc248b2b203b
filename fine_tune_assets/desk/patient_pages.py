"""Which models saw this patient? Asked by patient key, which comes in a form: it stands in no address.

Owns the page only; the steps are `lineage`'s. Ids and counts, never text. Who approved is not told to those who may still
decide; which models saw an example is: the patient's question comes first.
"""

from typing import TYPE_CHECKING

from starlette.responses import Response

from fine_tune_assets.desk.blindness import examples_to_hide
from fine_tune_assets.desk.rendering import page
from fine_tune_assets.desk.visits import Visit
from fine_tune_assets.lineage.tracing import UnknownIdError, trace_patient

if TYPE_CHECKING:
    from fine_tune_assets.desk.application import Desk


def ask_for_patient(desk: "Desk", visit: Visit) -> Response:
    return page(desk, visit, "patient.html", asked="", trace=None, hidden=(), refusal="")


def show_patient(desk: "Desk", visit: Visit) -> Response:
    asked = visit.form.text("patient_key").strip()
    try:
        trace = trace_patient(desk.settings.layout, desk.ledger, asked, desk.known_sets)
    except UnknownIdError as error:
        return page(desk, visit, "patient.html", status=404, asked=asked, trace=None, hidden=(), refusal=str(error))
    hidden = examples_to_hide(desk, visit, [example.example_id for example in trace.examples])
    return page(desk, visit, "patient.html", asked=asked, trace=trace, hidden=hidden, refusal="")

"""What arrived, for who brings the reports: batches, what was not read and why. Counts and names of files, never text.

The figures are `reports`'.
"""

from starlette.responses import Response

from fine_tune_assets.desk.application import Desk
from fine_tune_assets.desk.errors import PageError, not_found
from fine_tune_assets.desk.rendering import page
from fine_tune_assets.desk.visits import Visit
from fine_tune_assets.reports.arrivals import ArrivalsError
from fine_tune_assets.reports.batches import NotBatches

PAGE_LINES = 100
_NOTHING = NotBatches((), 0)


def show_arrivals(desk: Desk, visit: Visit) -> Response:
    first = visit.number("first") or 0
    try:
        arrivals = desk.arrivals.latest()
        waiting, beside = desk.arrivals.waiting(), desk.arrivals.beside()
    except ArrivalsError as error:
        raise _later(error) from None
    except OSError:
        # The folder of raw reports may be another machine's, and be away; what was read is still here.
        waiting, beside = [], _NOTHING
    return page(
        desk,
        visit,
        "arrivals.html",
        arrivals=arrivals,
        rows=arrivals.batches[first : first + PAGE_LINES],
        next_first=first + PAGE_LINES if len(arrivals.batches) > first + PAGE_LINES else 0,
        first=first,
        waiting=waiting,
        beside=beside,
    )


def show_batch(desk: Desk, visit: Visit) -> Response:
    first, name = visit.number("first") or 0, visit.path("batch")
    try:
        batch = next((batch for batch in desk.arrivals.latest().batches if batch.name == name), None)
        if batch is None:
            raise not_found()
        refused = desk.arrivals.refused(batch.name)
    except ArrivalsError as error:
        raise _later(error) from None
    return page(
        desk,
        visit,
        "batch.html",
        batch=batch,
        rows=refused[first : first + PAGE_LINES],
        next_first=first + PAGE_LINES if len(refused) > first + PAGE_LINES else 0,
        first=first,
    )


def _later(error: ArrivalsError) -> PageError:
    return PageError(503, "Not now", str(error))

"""Pages of counts: the first page with the stages, what arrived, and what corrections bring from release to release.

Decides which role sees which part. The figures are read by `overview`, `reports` and `corrections`, and hold no text.
"""

from dataclasses import asdict
from typing import Any

import pyarrow.parquet as pq
from starlette.responses import JSONResponse, Response

from fine_tune_assets.core.error_kinds import ERROR_KINDS
from fine_tune_assets.core.progress import duration_words
from fine_tune_assets.corrections.value import FEWEST, ReleaseValue, value_by_release
from fine_tune_assets.desk.application import Desk
from fine_tune_assets.desk.errors import PageError, not_found
from fine_tune_assets.desk.overview import next_step, read_models, read_stages
from fine_tune_assets.desk.plots import WIDTH, Difference, intervals
from fine_tune_assets.desk.rendering import page
from fine_tune_assets.desk.visits import Visit, is_for, one_of
from fine_tune_assets.ledger.audit.requests import answered_by_release
from fine_tune_assets.ledger.reviews.corrections import correction_facts
from fine_tune_assets.ledger.reviews.feedback import thumbs_by_release
from fine_tune_assets.ledger.serving.releases import recorded_releases
from fine_tune_assets.reports.arrivals import ArrivalsError
from fine_tune_assets.reports.batches import NotBatches

SEES_STAGES = one_of("ingest", "reviewer", "approver", "operator", "auditor")
SEES_MODEL = one_of("user", "reviewer", "approver", "operator", "auditor")
SEES_VERDICTS = one_of("approver", "operator", "auditor")
"""As the pages of verdicts: whoever rates answers blindly without one of these roles sees no figure of a model."""
ASKS = one_of("user", "reviewer", "approver")
BUSY_SECONDS, IDLE_SECONDS = 3, 20
"""Between two looks of an open page."""


def show_home(desk: Desk, visit: Visit) -> Response:
    return page(desk, visit, "home.html", may_ask=is_for(ASKS, visit.who.roles), **_overview(desk, visit))


def show_overview(desk: Desk, visit: Visit) -> Response:
    """The part of the page that changes while the graph runs; the page asks for it by itself."""
    return page(desk, visit, "overview.html", **_overview(desk, visit))


def _overview(desk: Desk, visit: Visit) -> dict[str, Any]:
    roles, layout, now = visit.who.roles, desk.settings.layout, visit.now.timestamp()
    stages = read_stages(layout, desk.ledger, desk.table_counts, now) if is_for(SEES_STAGES, roles) else []
    models = read_models(desk.ledger) if is_for(SEES_MODEL, roles) else None
    may_see_verdicts = is_for(SEES_VERDICTS, roles)
    stopped = models.stopped if models is not None and may_see_verdicts else None
    is_busy = any(stage.running for stage in stages) or (models is not None and models.candidate is not None)
    return {
        "stages": stages,
        "models": models,
        "sees_verdicts": may_see_verdicts,
        "stopped": stopped,
        "stopped_words": next_step(stopped, desk.ledger) if stopped is not None else "",
        "graph": desk.settings.dagster_address if may_see_verdicts else "",
        "seconds": BUSY_SECONDS if is_busy else IDLE_SECONDS,
        "unix_now": now,
        "duration": duration_words,
    }


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


SHOWN = 30
"""Releases on the page, the newest ones."""


def show_value(desk: Desk, visit: Visit) -> Response:
    rows = _rows(desk)[-SHOWN:]
    edits = [Difference(row.release_id[:16], row.edited[1], row.edited[0], row.edited[2]) for row in rows if row.edited]
    return page(
        desk,
        visit,
        "value.html",
        rows=rows[::-1],
        words=ERROR_KINDS,
        fewest=FEWEST,
        width=WIDTH,
        plot=intervals("share of words", edits) if edits else None,
    )


def value_as_json(desk: Desk, _visit: Visit) -> Response:
    return JSONResponse({"releases": [asdict(row) for row in _rows(desk)]})


def _rows(desk: Desk) -> list[ReleaseValue]:
    """Oldest first; only releases that served, were corrected or got a thumb."""
    facts, thumbs = correction_facts(desk.ledger), thumbs_by_release(desk.ledger)
    releases = [recorded.release.release_id for recorded in recorded_releases(desk.ledger)]
    return value_by_release(releases, facts, _edits(desk), thumbs, answered_by_release(desk.ledger))


def _edits(desk: Desk) -> dict[str, float]:
    """Correction → share of words changed, of those that could be compared."""
    path = desk.settings.layout.table("scrubbed_corrections")
    if not path.is_file():
        return {}
    rows = pq.read_table(path, columns=["correction_id", "edit_fraction"]).to_pylist()
    return {row["correction_id"]: row["edit_fraction"] for row in rows if row["edit_fraction"] is not None}

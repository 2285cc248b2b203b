"""The first page: the stages with their counts, what runs, the production model with its verdict, and a box to ask it.

Owns which role sees which part. What is shown is read by `overview`.
"""

from typing import Any

from starlette.responses import Response

from fine_tune_assets.core.progress import duration_words
from fine_tune_assets.desk.application import Desk
from fine_tune_assets.desk.overview import next_step, read_models, read_stages
from fine_tune_assets.desk.rendering import page
from fine_tune_assets.desk.visits import Visit, is_for, one_of

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

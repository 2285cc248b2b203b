"""Page of a user's own corrections: how far each is and why, without its text. `corrections` decides the states."""

from starlette.responses import Response

from fine_tune_assets.corrections.correction_progress import CorrectionState, list_progress
from fine_tune_assets.desk.desk_context import Desk
from fine_tune_assets.desk.rendering import render_page
from fine_tune_assets.desk.request_context import RequestContext

MAX_LISTED = 100
_TONES = {
    CorrectionState.APPROVED: "good",
    CorrectionState.NOT_SCRUBBED: "warn",
    CorrectionState.HAS_IDENTIFIERS: "warn",
    CorrectionState.BLOCKED: "warn",
    CorrectionState.REJECTED: "bad",
}


def show_corrections(desk: Desk, context: RequestContext) -> Response:
    found = list_progress(desk.settings.layout, desk.ledger, context.user.name, MAX_LISTED + 1)
    return render_page(
        desk, context, "corrections.html", rows=found[:MAX_LISTED], has_more=len(found) > MAX_LISTED, tones=_TONES
    )

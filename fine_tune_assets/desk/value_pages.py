"""What corrections bring, for those who pay: from release to release, as a page and as JSON.

Owns the page only. The figures are `corrections`'; they come from counts in the ledger and from the scrubbed table, and no text.
"""

from dataclasses import asdict

import pyarrow.parquet as pq
from starlette.responses import JSONResponse, Response

from fine_tune_assets.core.error_kinds import ERROR_KINDS
from fine_tune_assets.corrections.value import FEWEST, ReleaseValue, value_by_release
from fine_tune_assets.desk.application import Desk
from fine_tune_assets.desk.plots import WIDTH, Difference, intervals
from fine_tune_assets.desk.rendering import page
from fine_tune_assets.desk.visits import Visit
from fine_tune_assets.ledger.corrections import correction_facts
from fine_tune_assets.ledger.feedback import thumbs_by_release
from fine_tune_assets.ledger.releases import recorded_releases
from fine_tune_assets.ledger.request_audit import answered_by_release

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
    facts, thumbs = [vars(fact) for fact in correction_facts(desk.ledger)], thumbs_by_release(desk.ledger)
    releases = [recorded.release.release_id for recorded in recorded_releases(desk.ledger)]
    return value_by_release(releases, facts, _edits(desk), thumbs, answered_by_release(desk.ledger))


def _edits(desk: Desk) -> dict[str, float]:
    """Correction → share of words changed, of those that could be compared."""
    path = desk.settings.layout.table("scrubbed_corrections")
    if not path.is_file():
        return {}
    rows = pq.read_table(path, columns=["correction_id", "edit_fraction"]).to_pylist()
    return {row["correction_id"]: row["edit_fraction"] for row in rows if row["edit_fraction"] is not None}

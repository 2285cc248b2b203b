"""Pages of counts: the intake of batches, and the impact of corrections by release.

The account, `reports` and `corrections` provide the figures, which contain no report text.
"""

from dataclasses import asdict, dataclass

import pyarrow as pa
import pyarrow.parquet as pq
from starlette.responses import JSONResponse, Response

from fine_tune_assets.claims.languages import describe_languages
from fine_tune_assets.core.error_kinds import ERROR_KINDS
from fine_tune_assets.core.errors import TableError
from fine_tune_assets.corrections.impact import MIN_CORRECTIONS, ReleaseImpact, impact_by_release
from fine_tune_assets.desk.desk_context import Desk
from fine_tune_assets.desk.error_pages import PageError, not_found
from fine_tune_assets.desk.plot_geometry import WIDTH, Difference, make_intervals
from fine_tune_assets.desk.rendering import render_page
from fine_tune_assets.desk.request_context import RequestContext
from fine_tune_assets.ledger.audit.request_log import count_answers_by_release
from fine_tune_assets.ledger.reviews.correction_records import list_correction_metadata
from fine_tune_assets.ledger.reviews.feedback import count_feedback_by_release
from fine_tune_assets.ledger.serving.release_records import list_recorded_releases
from fine_tune_assets.lineage.account import Account
from fine_tune_assets.lineage.account_reasons import COMPARE, DRAFT, READ, SCRUB, WITHHELD
from fine_tune_assets.lineage.left_out import describe_omissions
from fine_tune_assets.reports.batches import StrayEntries
from fine_tune_assets.reports.intake_summary import IntakeError

PAGE_LINES = 25
_NO_STRAY_ENTRIES = StrayEntries((), 0)


@dataclass(frozen=True)
class IntakeCounts:
    """From the account, of all batches or of one."""

    reports: int
    unreadable: int
    """Files and records."""
    withheld: int
    omitted: int
    """Left out at any stage up to the draft."""


def show_intake(desk: Desk, context: RequestContext) -> Response:
    first = context.query_number("first") or 0
    account = _read_account(desk)
    try:
        intake = desk.intake.latest()
        waiting, stray = desk.intake.list_unread_batches(), desk.intake.find_stray_entries()
    except IntakeError as error:
        raise _unavailable(error) from None
    except OSError:
        # The raw reports may be on an unavailable network drive; the results of earlier reads are local.
        waiting, stray = [], _NO_STRAY_ENTRIES
    return render_page(
        desk,
        context,
        "intake.html",
        intake=intake,
        totals=_count_intake(account),
        rows=[
            (batch, _count_intake(account.of_batch(batch.name))) for batch in intake.batches[first : first + PAGE_LINES]
        ],
        next_first=first + PAGE_LINES if len(intake.batches) > first + PAGE_LINES else 0,
        first=first,
        waiting=waiting,
        stray=stray,
        stages=account.count_stages(),
        left_out=describe_omissions(account),
    )


def show_batch(desk: Desk, context: RequestContext) -> Response:
    first, name = context.query_number("first") or 0, context.path_param("batch")
    account = _read_account(desk).of_batch(name)
    try:
        batch = next((batch for batch in desk.intake.latest().batches if batch.name == name), None)
        if batch is None:
            raise not_found()
        refused, withheld = desk.intake.list_unreadable(batch.name), desk.intake.list_withheld(batch.name)
    except IntakeError as error:
        raise _unavailable(error) from None
    return render_page(
        desk,
        context,
        "batch.html",
        batch=batch,
        counts=_count_intake(account),
        other_languages=describe_languages(batch.other_languages),
        withheld=withheld[:PAGE_LINES],
        has_more_withheld=len(withheld) > PAGE_LINES,
        stages=account.count_stages(),
        left_out=describe_omissions(account),
        rows=refused[first : first + PAGE_LINES],
        next_first=first + PAGE_LINES if len(refused) > first + PAGE_LINES else 0,
        first=first,
    )


def _count_intake(account: Account) -> IntakeCounts:
    read = sum(count for (stage, _), count in account.passed.items() if stage is READ)
    return IntakeCounts(
        read,
        account.count_by_reason("unreadable"),
        account.count_by_reason(*WITHHELD),
        account.count_omitted(READ, SCRUB, COMPARE, DRAFT),
    )


def _read_account(desk: Desk) -> Account:
    try:
        return desk.read_account()
    except (TableError, OSError, pa.ArrowInvalid):
        raise _unavailable(IntakeError("The report tables are being written. Try again in a moment.")) from None


def _unavailable(error: IntakeError) -> PageError:
    return PageError(503, "Intake is not available now", str(error))


MAX_RELEASES = 30
"""The page shows this many of the newest releases."""


def show_impact(desk: Desk, context: RequestContext) -> Response:
    rows, names = _measure_impact(desk)[-MAX_RELEASES:], desk.names.at(context.now)
    edits = [
        Difference(
            names.release(row.release_id).title, row.edit_quartiles[1], row.edit_quartiles[0], row.edit_quartiles[2]
        )
        for row in rows
        if row.edit_quartiles
    ]
    return render_page(
        desk,
        context,
        "impact.html",
        rows=rows[::-1],
        words=ERROR_KINDS,
        fewest=MIN_CORRECTIONS,
        width=WIDTH,
        plot=make_intervals("share of words", edits) if edits else None,
    )


def get_impact_json(desk: Desk, _context: RequestContext) -> Response:
    return JSONResponse({"releases": [asdict(row) for row in _measure_impact(desk)]})


def _measure_impact(desk: Desk) -> list[ReleaseImpact]:
    """Oldest first; only releases with answers, corrections or ratings."""
    facts, thumbs = list_correction_metadata(desk.ledger), count_feedback_by_release(desk.ledger)
    releases = [recorded.release.release_id for recorded in list_recorded_releases(desk.ledger)]
    return impact_by_release(releases, facts, _read_edit_fractions(desk), thumbs, count_answers_by_release(desk.ledger))


def _read_edit_fractions(desk: Desk) -> dict[str, float]:
    """Correction id → share of words changed, for corrections that could be compared."""
    path = desk.settings.layout.table("scrubbed_corrections")
    if not path.is_file():
        return {}
    rows = pq.read_table(path, columns=["correction_id", "edit_fraction"]).to_pylist()
    return {row["correction_id"]: row["edit_fraction"] for row in rows if row["edit_fraction"] is not None}

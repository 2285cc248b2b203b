"""Pages of quarantined corrections: the reasons for the quarantine, and the signed decision to accept or reject one.

`corrections` decides what is quarantined; the ledger records and enforces decisions.
"""

from datetime import datetime

import pyarrow.parquet as pq
from starlette.responses import Response

from fine_tune_assets.core.people import is_same_person
from fine_tune_assets.corrections.quarantine_rules import PENDING, REASONS, content_fingerprint
from fine_tune_assets.desk.desk_context import Desk
from fine_tune_assets.desk.error_pages import not_found
from fine_tune_assets.desk.pages.marked_text import diff_words
from fine_tune_assets.desk.rendering import redirect_to, render_page
from fine_tune_assets.desk.request_context import RequestContext
from fine_tune_assets.ledger.ledger_errors import LedgerError, OwnCorrectionError
from fine_tune_assets.ledger.reviews.quarantine_decisions import (
    MAX_REASON_CHARACTERS,
    MEANINGS,
    list_quarantine_decisions,
    record_quarantine_decision,
)
from fine_tune_assets.tables.correction_rows import QuarantinedCorrection, ScrubbedCorrection
from fine_tune_assets.tables.record_classes import conform, iter_records
from fine_tune_assets.tables.stored_tables import read_rows

QUARANTINE_TABLE, TEXT_TABLE = "quarantined_corrections", "scrubbed_corrections"
PAGE_ITEMS = 30


def show_quarantine(desk: Desk, context: RequestContext) -> Response:
    rows = list_pending(desk)
    return render_page(
        desk,
        context,
        "quarantine.html",
        rows=rows[:PAGE_ITEMS],
        waiting=len(rows),
        words=REASONS,
        arrivals=_read_arrivals(desk),
    )


def show_quarantined_correction(desk: Desk, context: RequestContext) -> Response:
    return _render_correction(desk, context, *_find_correction(desk, context))


def decide_correction(desk: Desk, context: RequestContext) -> Response:
    """Record the decision, provided that the text is still the one that was shown."""
    (row, correction), form = _find_correction(desk, context), context.form
    if form.get_text("seen") != row.fingerprint:
        return _render_correction(
            desk, context, row, correction, "The correction changed after you opened it. Read it again.", 409
        )
    try:
        record_quarantine_decision(
            desk.ledger,
            correction_id=row.correction_id,
            fingerprint=row.fingerprint,
            outcome=form.get_text("outcome"),
            reasons=", ".join(row.reasons),
            person=context.user.name,
            reason=form.get_text("reason"),
            now=context.now,
        )
    except OwnCorrectionError as error:
        return _render_correction(desk, context, row, correction, str(error), 409)
    except LedgerError as error:
        return _render_correction(desk, context, row, correction, str(error), 400)
    return redirect_to(f"/quarantine?notice={'accepted' if form.get_text('outcome') == 'accept' else 'rejected'}")


def list_pending(desk: Desk) -> list[QuarantinedCorrection]:
    """The table's pending corrections, without those decided since it was written."""
    path = desk.settings.layout.table(QUARANTINE_TABLE)
    if not path.is_file():
        return []
    rows = iter_records(QuarantinedCorrection, conform(pq.read_table(path), QuarantinedCorrection.SCHEMA))
    decided = {(d.correction_id, d.fingerprint) for d in list_quarantine_decisions(desk.ledger)}
    return [row for row in rows if row.state == PENDING and (row.correction_id, row.fingerprint) not in decided]


def _read_arrivals(desk: Desk) -> dict[str, datetime | None]:
    """Correction id → time of arrival."""
    path = desk.settings.layout.table(TEXT_TABLE)
    rows = pq.read_table(path, columns=["correction_id", "received_at"]).to_pylist() if path.is_file() else []
    return {row["correction_id"]: row["received_at"] for row in rows}


def _find_correction(desk: Desk, context: RequestContext) -> tuple[QuarantinedCorrection, ScrubbedCorrection]:
    """The row and its texts. Raises PageError if it is no longer pending, or may not be shown."""
    wanted, path = context.path_param("correction_id"), desk.settings.layout.table(TEXT_TABLE)
    row = next((row for row in list_pending(desk) if row.correction_id == wanted), None)
    found = read_rows(path, TEXT_TABLE, "correction_id", [wanted]) if row is not None and path.is_file() else []
    correction = next(map(ScrubbedCorrection.from_row, found), None)
    if row is None or correction is None or content_fingerprint(correction) != row.fingerprint:
        raise not_found()
    texts = (correction.instruction, correction.input, correction.answer or "", correction.output)
    passages = (passage.text for passage in correction.passages or ())
    if desk.withheld.has_missed_term(correction.subject_key, "\n".join([*texts, *passages])):
        raise not_found()
    return row, correction


def _render_correction(
    desk: Desk,
    context: RequestContext,
    row: QuarantinedCorrection,
    correction: ScrubbedCorrection,
    refusal: str = "",
    status: int = 200,
) -> Response:
    return render_page(
        desk,
        context,
        "quarantined.html",
        status=status,
        row=row,
        correction=correction,
        contradicted=desk.names.at(context.now).examples(row.contradicted_examples).values(),
        words=REASONS,
        pieces=diff_words(correction.answer or "", correction.output),
        meanings=MEANINGS,
        longest=MAX_REASON_CHARACTERS,
        is_own=is_same_person(row.author, context.user.name),
        refusal=refusal,
        typed=context.form.get_text("reason"),
    )

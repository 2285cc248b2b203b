"""Corrections in quarantine: why each was kept apart, and letting it through or rejecting it, signed.

Owns the pages only. What puts a correction there is `corrections`', what a decision is worth the ledger's.
"""

import pyarrow.parquet as pq
from starlette.responses import Response

from fine_tune_assets.core.people import is_same_person
from fine_tune_assets.corrections.quarantine import REASONS, WAITING, seen_fingerprint
from fine_tune_assets.desk.application import Desk
from fine_tune_assets.desk.errors import not_found
from fine_tune_assets.desk.pages.marked_text import word_diff
from fine_tune_assets.desk.rendering import go_to, page
from fine_tune_assets.desk.visits import Visit
from fine_tune_assets.ledger.errors import LedgerError, OwnCorrectionError
from fine_tune_assets.ledger.reviews.quarantine import (
    LONGEST_REASON,
    MEANINGS,
    decide_quarantined,
    list_quarantine_decisions,
)
from fine_tune_assets.tables.corrections import QuarantinedCorrection, ScrubbedCorrection
from fine_tune_assets.tables.records import conform, records_of
from fine_tune_assets.tables.stored_tables import read_rows

TABLE, TEXTS = "quarantined_corrections", "scrubbed_corrections"
PAGE_ITEMS = 50


def show_quarantine(desk: Desk, visit: Visit) -> Response:
    rows = _waiting(desk)
    return page(desk, visit, "quarantine.html", rows=rows[:PAGE_ITEMS], waiting=len(rows), words=REASONS)


def show_quarantined(desk: Desk, visit: Visit) -> Response:
    return _page(desk, visit, *_find(desk, visit))


def decide(desk: Desk, visit: Visit) -> Response:
    """Record the decision about exactly the text that was shown."""
    (row, correction), form = _find(desk, visit), visit.form
    if form.text("seen") != row.fingerprint:
        return _page(desk, visit, row, correction, "The texts changed since you opened them. Read them again.", 409)
    try:
        decide_quarantined(
            desk.ledger,
            correction_id=row.correction_id,
            fingerprint=row.fingerprint,
            outcome=form.text("outcome"),
            reasons=", ".join(row.reasons),
            person=visit.who.name,
            reason=form.text("reason"),
            now=visit.now,
        )
    except OwnCorrectionError as error:
        return _page(desk, visit, row, correction, str(error), 409)
    except LedgerError as error:
        return _page(desk, visit, row, correction, str(error), 400)
    return go_to(f"/quarantine?said={'let_through' if form.text('outcome') == 'let_through' else 'rejected'}")


def _waiting(desk: Desk) -> list[QuarantinedCorrection]:
    """As the table has them, less what was decided since it was made."""
    path = desk.settings.layout.table(TABLE)
    if not path.is_file():
        return []
    rows = records_of(QuarantinedCorrection, conform(pq.read_table(path), QuarantinedCorrection.SCHEMA))
    decided = {(d.correction_id, d.fingerprint) for d in list_quarantine_decisions(desk.ledger)}
    return [row for row in rows if row.state == WAITING and (row.correction_id, row.fingerprint) not in decided]


def _find(desk: Desk, visit: Visit) -> tuple[QuarantinedCorrection, ScrubbedCorrection]:
    """The row and its texts. Raises PageError if it waits no more, or may not be shown."""
    wanted, path = visit.path("correction_id"), desk.settings.layout.table(TEXTS)
    row = next((row for row in _waiting(desk) if row.correction_id == wanted), None)
    found = read_rows(path, TEXTS, "correction_id", [wanted]) if row is not None and path.is_file() else []
    correction = next(map(ScrubbedCorrection.of, found), None)
    if row is None or correction is None or seen_fingerprint(correction) != row.fingerprint:
        raise not_found()
    texts = (correction.instruction, correction.input, correction.answer or "", correction.output)
    passages = (passage.text for passage in correction.passages or ())
    if desk.held_back.holds(correction.patient_key, "\n".join([*texts, *passages])):
        raise not_found()
    return row, correction


def _page(
    desk: Desk,
    visit: Visit,
    row: QuarantinedCorrection,
    correction: ScrubbedCorrection,
    refusal: str = "",
    status: int = 200,
) -> Response:
    return page(
        desk,
        visit,
        "quarantined.html",
        status=status,
        row=row,
        correction=correction,
        words=REASONS,
        pieces=word_diff(correction.answer or "", correction.output),
        meanings=MEANINGS,
        longest=LONGEST_REASON,
        is_own=is_same_person(row.author, visit.who.name),
        refusal=refusal,
        typed=visit.form.text("reason"),
    )

"""Texts that a page shows next to a draft: duplicates that contradict it, and the answer that a correction replaces.

A text with a marked identifier is not shown.
"""

from dataclasses import dataclass

from fine_tune_assets.approval.dropped_reports import format_contradiction_flag
from fine_tune_assets.approval.flags import flag_kind
from fine_tune_assets.core.error_kinds import ERROR_KINDS
from fine_tune_assets.core.fingerprints import short
from fine_tune_assets.desk.desk_context import Desk
from fine_tune_assets.desk.pages.marked_text import DiffPiece, Piece, diff_words, mark_placeholders
from fine_tune_assets.tables.approval_rows import DraftedExample
from fine_tune_assets.tables.correction_rows import ScrubbedCorrection


@dataclass(frozen=True)
class DroppedDuplicate:
    report_number: str
    """As in the flag."""
    pieces: list[Piece] | None
    """None if it is withheld or was removed."""


def find_dropped_duplicates(desk: Desk, draft: DraftedExample) -> list[DroppedDuplicate]:
    """In the order of the flags."""
    flags = [flag for flag in draft.flags if flag_kind(flag) == "contradiction"]
    if not flags:
        return []
    ids = {
        format_contradiction_flag(found): (short(found), i)
        for found, i in desk.stored_texts.find_dropped_duplicates(draft.report_id).items()
    }
    return [
        DroppedDuplicate(number, _find_pieces(desk, report_id))
        for number, report_id in (ids[f] for f in flags if f in ids)
    ]


def _find_pieces(desk: Desk, report_id: str) -> list[Piece] | None:
    found = desk.stored_texts.find_report(report_id)
    if found is None or desk.withheld.has_missed_term(found.subject_key, found.tagged_text):
        return None
    return mark_placeholders(found.tagged_text, desk.read_recipe().domain)


@dataclass(frozen=True)
class CorrectedAnswer:
    """The answer that a correction replaces, and the error that its author stated."""

    text: str | None
    """None if it was not stored or is withheld."""
    changes: list[DiffPiece]
    error: str
    """Empty if it was not stated."""
    severity: str


def find_corrected_answer(
    desk: Desk, draft: DraftedExample, correction: ScrubbedCorrection | None
) -> CorrectedAnswer | None:
    """None for a draft of a report."""
    if correction is None:
        return None
    text = correction.answer
    if text is not None and desk.withheld.has_missed_term(correction.subject_key, text):
        text = None
    changes = [] if text is None else diff_words(text, draft.output)
    return CorrectedAnswer(text, changes, ERROR_KINDS.get(correction.error_kind or "", ""), correction.severity or "")

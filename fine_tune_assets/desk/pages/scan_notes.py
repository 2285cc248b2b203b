"""The note about an item in whose approved text the scan of the final texts found identifiers, and the marks of its words."""

from contextlib import suppress

import pyarrow as pa

from fine_tune_assets.approval.drafts import content_fingerprint
from fine_tune_assets.approval.review_history import is_blind_review, list_approved_outputs, list_history
from fine_tune_assets.desk.desk_context import Desk
from fine_tune_assets.desk.pages.marked_text import TAKEN_FOR, TextSpan
from fine_tune_assets.ledger.reviews.decision_records import list_decisions_about
from fine_tune_assets.ledger.reviews.review_items import find_items
from fine_tune_assets.ledger.reviews.review_rows import ReviewItem
from fine_tune_assets.lineage.final_text_findings import ScannedText, match_scanned_text, read_newest_findings
from fine_tune_assets.tables.approval_rows import DraftedExample
from fine_tune_assets.tables.instruction_rows import FinalTextFinding

_MAX_EXAMPLES = 500


def find_scanned_text(
    desk: Desk, item: ReviewItem, draft: DraftedExample, shown: str, viewer: str
) -> ScannedText | None:
    """The text with findings of the newest set: the one that the page shows, or the approved one of a closed item.

    None without findings, or if they are in a text that is neither.
    """
    found = read_findings(desk, draft.example_id)
    outputs = {content_fingerprint(draft.instruction, draft.input, shown): shown}
    if found and item.state in ("approved", "trusted"):
        is_blind = is_blind_review(desk.read_review_settings())
        history = list_history(desk.ledger, draft.example_id, viewer=viewer, can_see_all=False, is_blind=is_blind)
        outputs |= list_approved_outputs(draft, history)
    return match_scanned_text(found, draft.instruction, draft.input, outputs)


def find_suspected_examples(desk: Desk) -> list[str]:
    """The examples with findings of the newest set whose scanned text is still approved, at most 500.

    An example leaves the list when its decision is revoked or an identifier in it is marked, before the next set is built.
    """
    scanned = {found.example_id: found.fingerprint for found in read_findings(desk)}
    items = find_items(desk.ledger, sorted(scanned.keys() - desk.withheld.example_ids())[:_MAX_EXAMPLES])
    present = [item for item in items.values() if item.removed_at is None]
    with desk.ledger.read() as connection:
        decisions = list_decisions_about(connection, {item.fingerprint for item in present})
    approved = {(decision.fingerprint, decision.approved_fingerprint) for decision in decisions}

    def is_approved(item: ReviewItem) -> bool:
        content = scanned[item.example_id]
        if item.state == "trusted":
            return content == item.fingerprint
        return item.state == "approved" and (item.fingerprint, content) in approved

    return sorted(item.example_id for item in present if is_approved(item))


def read_findings(desk: Desk, example_id: str | None = None) -> list[FinalTextFinding]:
    """The findings of the newest set, in one example or in all."""
    with suppress(OSError, pa.ArrowInvalid):  # replaced while it was read, or damaged
        return read_newest_findings(desk.settings.layout.instruction_sets, example_id)
    return []


def mark_found_words(scanned: ScannedText | None, part: str) -> list[TextSpan]:
    """The places in one part of the example."""
    places = () if scanned is None else scanned.list_places(part)
    return [TextSpan(start, end, f"{TAKEN_FOR}{kind}") for start, end, kind in places]

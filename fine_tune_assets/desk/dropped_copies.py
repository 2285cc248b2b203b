"""What a dropped near copy of a report says, where a flag of a draft names it: the reviewer decides between the two.

Owns which copies are shown, and that one with a marked identifier is not.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fine_tune_assets.approval.dropped_reports import contradiction_with
from fine_tune_assets.approval.flags import kind_of
from fine_tune_assets.core.fingerprints import short
from fine_tune_assets.desk.marked_text import Piece, with_slots

if TYPE_CHECKING:
    from fine_tune_assets.desk.application import Desk


@dataclass(frozen=True)
class DroppedCopy:
    number: str
    """As the flag says it."""
    pieces: list[Piece] | None
    """None while it is held back, or was removed since."""


def dropped_copies(desk: "Desk", draft: dict[str, Any]) -> list[DroppedCopy]:
    """In the order of the flags."""
    flags = [flag for flag in draft["flags"] if kind_of(flag) == "contradiction"]
    if not flags:
        return []
    ids = {
        contradiction_with(found): (short(found), i) for found, i in desk.texts.dropped_for(draft["report_id"]).items()
    }
    return [DroppedCopy(number, _pieces(desk, report_id)) for number, report_id in (ids[f] for f in flags if f in ids)]


def _pieces(desk: "Desk", report_id: str) -> list[Piece] | None:
    found = desk.texts.tagged_of_patient(report_id)
    return None if found is None or desk.held_back.holds(*found) else with_slots(found[1])

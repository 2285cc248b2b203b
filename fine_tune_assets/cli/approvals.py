"""What commands say of approvals that do not stand any more. Owns asking by the recipe of this installation."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fine_tune_assets.core.settings import Settings

if TYPE_CHECKING:
    from fine_tune_assets.ledger.database import Ledger
    from fine_tune_assets.lineage.records import WhyNot


def why_not_approved_now(settings: Settings, ledger: "Ledger") -> "WhyNot":
    """A row of a set → why it is not approved any more, by the decisions of this moment."""
    from fine_tune_assets.approval.still_approved import decided_now, why_not_approved
    from fine_tune_assets.recipes.loading import load_recipe

    corrections = settings.layout.table("scrubbed_corrections")
    now = decided_now(ledger, corrections, load_recipe(settings.recipe).review)

    def ask(row: Mapping[str, Any]) -> str | None:
        return why_not_approved(row, now)

    return ask


def count_not_approved(settings: Settings, ledger: "Ledger", release_id: str) -> int:
    """Examples that a release learned from and that are not approved any more, as far as its set says how they were."""
    from fine_tune_assets.ledger.releases import find_release
    from fine_tune_assets.lineage.trainings import learned_rows

    release = find_release(ledger, release_id)
    rows = None if release is None else learned_rows(settings.layout, ledger, release)
    ask = why_not_approved_now(settings, ledger)
    return sum(ask(row) is not None for row in rows or ())

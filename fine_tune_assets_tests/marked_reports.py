"""A reviewer's mark of an identifier that the scrubber missed."""

from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.phi.missed_identifiers.marks import mark_missed_identifier


def mark_name(installation: Installation, report_id: str, name: str) -> str:
    """As the page of an item does; returns the mark's id."""
    with installation.ledger() as ledger:
        return mark_missed_identifier(
            ledger,
            ledger.key,
            installation.layout,
            installation.vocabulary,
            report_id=report_id,
            kind="NAME",
            term=name,
            marked_by="Reviewer One",
        )

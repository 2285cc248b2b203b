"""The card of the data that a released model learned from: the one that the instruction set has, and how it was cleaned.

Owns what is added to it. The data itself is not in the release.
"""

from fine_tune_assets.merging.card_tables import Row, removed_identifiers

CARD = "DATASET_CARD.md"


def data_card(card_of_set: str, scrub: Row, leakage: Row) -> str:
    """`card_of_set`: the card that lies beside the instruction set."""
    figures = leakage["figures"] or {}
    looked = f"Looked for: {figures['looked_for']}." if figures.get("looked_for") else leakage["why_not"]
    return (
        f"{card_of_set.rstrip()}\n\n## Identifiers removed\n\n"
        f"Measured on labelled texts:\n\n{removed_identifiers(scrub)}\n\n"
        "Each kind of identifier, and how many other words were removed: `evidence/scrub_certificate.json`.\n\n"
        f"## Training and test\n\nEvery figure: `evidence/leakage_certificate.json`. {looked}\n\n"
        "## Limits\n\n"
        "The examples come from one organisation and say little about others. They are as right as who approved them. The data "
        "itself is not part of the release and does not leave the organisation.\n"
    )

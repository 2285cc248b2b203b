"""What the tagger can say of a word, and what the labels of other people's sets mean in these terms.

Owns the tagger's label set. Does not know how a word gets its label.
"""

from pathlib import Path

from fine_tune_assets.core.word_lists import read_lists, read_variants

OUTSIDE = "O"
LABELS: tuple[str, ...] = (
    OUTSIDE, "NAME", "DATE", "AGE", "LOCATION", "ADDRESS", "FACILITY", "PHONE", "EMAIL", "URL", "IP", "SSN", "MRN", "ACCOUNT",
    "ID",
)  # fmt: skip
"""In the order of the classifier's outputs. Only append: a trained tagger is bound to the order."""

UNKNOWN = "UNKNOWN"
"""Of a word about which a labelled set says nothing: training skips it."""

_FOREIGN_LABELS = read_variants(read_lists(Path(__file__).parents[1] / "reference" / "foreign_labels.txt")["labels"])
MEANING_OF_FOREIGN_LABEL = {foreign: own for own, labels in _FOREIGN_LABELS.items() for foreign in labels}


def own_label(label: str) -> str:
    """The tagger's label for a label of another set; UNKNOWN if it has none."""
    label = label.upper()
    return label if label in LABELS else MEANING_OF_FOREIGN_LABEL.get(label, UNKNOWN)

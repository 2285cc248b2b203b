"""The tagger's labels, and the mapping from the labels of other data sets."""

from pathlib import Path

from fine_tune_assets.core.word_lists import read_lists, read_variants

OUTSIDE = "O"
LABELS: tuple[str, ...] = (
    OUTSIDE, "NAME", "DATE", "AGE", "LOCATION", "ADDRESS", "FACILITY", "PHONE", "EMAIL", "URL", "IP", "SSN", "MRN", "ACCOUNT",
    "ID",
)  # fmt: skip
"""In the order of the classifier's outputs. Append only: a trained tagger depends on the order."""

UNKNOWN = "UNKNOWN"
"""Label of words that a data set leaves undecided: training skips them."""

_EXTERNAL_LABELS = read_variants(read_lists(Path(__file__).parents[1] / "reference" / "external_labels.txt")["labels"])
LABEL_BY_EXTERNAL_LABEL = {external_label: own for own, labels in _EXTERNAL_LABELS.items() for external_label in labels}


def map_label(label: str) -> str:
    """The tagger's label for another data set's label; UNKNOWN if it has none."""
    label = label.upper()
    return label if label in LABELS else LABEL_BY_EXTERNAL_LABEL.get(label, UNKNOWN)

"""The tagger's labels, on which trained taggers depend."""

import pytest

from fine_tune_assets.core.identifier_kinds import KINDS
from fine_tune_assets.phi.tagger.labels import LABEL_BY_EXTERNAL_LABEL, LABELS, UNKNOWN, map_label


def test_label_order_is_stable() -> None:
    """A classifier's outputs are indices: a moved label turns every name into a date."""
    assert LABELS[:15] == (
        "O", "NAME", "DATE", "AGE", "LOCATION", "ADDRESS", "FACILITY", "PHONE", "EMAIL", "URL", "IP", "SSN", "MRN", "ACCOUNT",
        "ID",
    )  # fmt: skip


def test_every_label_is_a_kind_of_the_scrubber() -> None:
    """ADDRESS becomes LOCATION."""
    assert set(LABELS) - {"O", "ADDRESS"} <= set(KINDS)
    assert set(LABEL_BY_EXTERNAL_LABEL.values()) <= {*LABELS, UNKNOWN}


@pytest.mark.parametrize(
    ("external_label", "own"), [("person", "NAME"), ("PATIENT", "NAME"), ("Zip_Code", "LOCATION"), ("O", "O")]
)
def test_labels_of_other_sets_are_mapped(external_label: str, own: str) -> None:
    assert map_label(external_label) == own


@pytest.mark.parametrize("label", ["NRP", "TITLE", "DATE_TIME", "never heard of"])
def test_ambiguous_label_is_unknown(label: str) -> None:
    """ "Two weeks" is a DATE_TIME: learning that it is a date, or that it is not, would both be wrong."""
    assert map_label(label) == UNKNOWN

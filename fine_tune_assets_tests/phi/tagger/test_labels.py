"""The tagger's labels, which a trained tagger is bound to."""

import pytest

from fine_tune_assets.phi.spans.kinds import KINDS
from fine_tune_assets.phi.tagger.labels import LABELS, MEANING_OF_FOREIGN_LABEL, UNKNOWN, own_label


def test_labels_keep_their_places() -> None:
    """A classifier's outputs have numbers only: a label in another place turns every name into a date."""
    assert LABELS[:15] == (
        "O", "NAME", "DATE", "AGE", "LOCATION", "ADDRESS", "FACILITY", "PHONE", "EMAIL", "URL", "IP", "SSN", "MRN", "ACCOUNT",
        "ID",
    )  # fmt: skip


def test_every_label_is_a_kind_that_the_scrubber_knows() -> None:
    """ADDRESS becomes LOCATION on its way."""
    assert set(LABELS) - {"O", "ADDRESS"} <= set(KINDS)
    assert set(MEANING_OF_FOREIGN_LABEL.values()) <= {*LABELS, UNKNOWN}


@pytest.mark.parametrize(
    ("foreign", "own"), [("person", "NAME"), ("PATIENT", "NAME"), ("Zip_Code", "LOCATION"), ("O", "O")]
)
def test_labels_of_other_sets_are_understood(foreign: str, own: str) -> None:
    assert own_label(foreign) == own


@pytest.mark.parametrize("label", ["NRP", "TITLE", "DATE_TIME", "never heard of"])
def test_a_label_without_a_meaning_here_is_learned_neither_way(label: str) -> None:
    """ "Two weeks" is a DATE_TIME: learning that it is a date, or that it is none, would both be wrong."""
    assert own_label(label) == UNKNOWN

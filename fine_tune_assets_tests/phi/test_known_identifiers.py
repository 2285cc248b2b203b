"""Where a value that the report's metadata states is found, and where the same characters are something else."""

from itertools import permutations

import pytest

from fine_tune_assets.phi.known_identifiers import find_known_identifiers
from fine_tune_assets.phi.spans import merge_spans, replace_spans


def scrubbed(text: str, kind: str, value: str) -> str:
    return replace_spans(text, merge_spans(text, find_known_identifiers(text, [{"kind": kind, "value": value}])))


@pytest.mark.parametrize(("stated", "written"), list(permutations("'’ʼ‘", 2)))
def test_a_name_is_found_with_any_apostrophe(stated: str, written: str) -> None:
    """Systems type ', word processors turn it into ’: O'Brien would stay in every report that was typed in Word."""
    value = f"Mary O{stated}Brien"
    assert scrubbed(f"Mary O{written}Brien rests.", "name", value) == "[NAME] rests."
    assert scrubbed(f"Dr. o{written}brien{written}s note", "name", value) == "Dr. [NAME] note"


@pytest.mark.parametrize("apostrophe", "'’ʼ‘")
def test_a_possessive_goes_with_its_name(apostrophe: str) -> None:
    """To Python, ʼ is a letter: Quixleyʼs would be another word."""
    assert scrubbed(f"Quixley{apostrophe}s arm; {apostrophe}Quixley{apostrophe}", "name", "Quixley") == (
        f"[NAME] arm; {apostrophe}[NAME]{apostrophe}"
    )

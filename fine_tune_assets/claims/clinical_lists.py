"""The word lists of the clinical pack that the checks of sides, negations and medications use."""

from collections.abc import Mapping
from functools import cache
from typing import Final

from fine_tune_assets.core.paths import PACKAGE_DIR
from fine_tune_assets.core.word_lists import read_lists

_FOLDER: Final = PACKAGE_DIR / "packs" / "clinical"


def clinical_lists(name: str) -> Mapping[str, tuple[str, ...]]:
    """The lists in a file of the clinical pack."""
    return read_lists(_FOLDER / f"{name}.txt")


@cache
def clinical_words(name: str) -> frozenset[str]:
    """The words of a file of the clinical pack, separated by white space."""
    return frozenset(word for line in clinical_lists(name)[""] for word in line.split())

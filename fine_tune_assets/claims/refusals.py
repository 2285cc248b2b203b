"""Recognizes a sentence which says that a text does not hold the answer to a question."""

import re
from functools import cache
from typing import Final

from fine_tune_assets.core.paths import PACKAGE_DIR
from fine_tune_assets.core.word_lists import read_lists

_REFUSALS: Final = PACKAGE_DIR / "packs" / "general" / "refusals.txt"


def states_refusal(sentence: str) -> bool:
    """Whether a sentence in English is a refusal.

    >>> states_refusal("The text does not mention the dose.")
    True
    """
    return _refusal_pattern().search(sentence) is not None


@cache
def _refusal_pattern() -> re.Pattern[str]:
    return re.compile("|".join(read_lists(_REFUSALS)[""]), re.IGNORECASE)

"""Error kinds and severities of answers, shared by user corrections and expert ratings.

The keys are stored: never remove or rename one.
"""

from collections.abc import Mapping
from types import MappingProxyType

NO_ERROR = "none"
ERROR_KINDS: Mapping[str, str] = MappingProxyType(
    {
        "omission": "omits something important",
        "wrong_fact": "wrong statement",
        "hallucination": "statement without support in the input",
        "wrong_number": "wrong number, amount or dose",
        "wrong_side": "wrong side of the body",
        "negation": "negates the input, or misses a negation",
        "identifier_shown": "reveals an identifier",
        "tone": "wrong tone or style",
        "format": "wrong format",
        "other": "another error",
        NO_ERROR: "no error",
    }
)
"""Key → label of the most severe error of an answer."""
CORRECTION_ERROR_KINDS: tuple[str, ...] = tuple(kind for kind in ERROR_KINDS if kind != NO_ERROR)
"""Kinds for corrections: a corrected answer had an error."""
SEVERITIES: tuple[str, ...] = ("low", "medium", "high", "critical")
"""Potential harm, ascending."""
RATINGS: tuple[str, ...] = ("up", "down")
"""Feedback without a better answer."""

"""What can be wrong with an answer, and how grave it is: one list for users who correct and experts who rate.

Owns the names as they are stored, and in words. A name that was stored once is never removed or renamed.
"""

from collections.abc import Mapping
from types import MappingProxyType

NO_ERROR = "none"
ERROR_KINDS: Mapping[str, str] = MappingProxyType(
    {
        "omission": "leaves something out that matters",
        "wrong_fact": "says something wrong",
        "hallucination": "says what the input does not say",
        "wrong_number": "wrong dose, medication or number",
        "wrong_side": "wrong side of the body",
        "negation": "says yes where the input says no, or the other way round",
        "identifier_shown": "shows who somebody is",
        "tone": "wrong tone or style",
        "format": "wrong format",
        "other": "something else",
        NO_ERROR: "no error",
    }
)
"""The gravest error of an answer."""
KINDS_OF_CORRECTION: tuple[str, ...] = tuple(kind for kind in ERROR_KINDS if kind != NO_ERROR)
"""Whoever corrects an answer found an error."""
SEVERITIES: tuple[str, ...] = ("low", "medium", "high", "critical")
"""How much harm the answer could have done, rising."""
RATINGS: tuple[str, ...] = ("up", "down")
"""A thumb about an answer, without a better one."""

"""JSON in which nothing is guessed: no key twice, no NaN, and no number that can't be written.

Owns what the library would take without a word. Its messages are dropped by those who call it: they quote the file.
"""

import json
import math
from collections.abc import Callable
from typing import Any


def load_json(text: str, parse_float: Callable[[str], Any]) -> Any:
    """What the JSON says. Raises ValueError or RecursionError."""
    return json.loads(text, object_pairs_hook=_without_repeated_keys, parse_constant=_refused, parse_float=parse_float)


def finite(number: str) -> float:
    value = float(number)
    if math.isinf(value):
        raise ValueError("too large a number")
    return value


def _without_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # The library keeps the last of two and loses the first without a word.
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError("repeated key")
    return dict(pairs)


def _refused(_constant: str) -> Any:
    # The library takes NaN and Infinity, which are no JSON: all patients without an id would be the patient "nan".
    raise ValueError("not a number")

"""YAML and JSON in which nothing is guessed: no key twice, no NaN, and no number that can't be written.

The libraries keep the last of two keys and lose the first without a word. Messages of the JSON reader quote the file, so callers
drop them.
"""

import json
import math
from collections.abc import Callable
from typing import Any

import yaml

_MERGE = "tag:yaml.org,2002:merge"


class RepeatedKeyError(ValueError):
    """A mapping names a key twice. The message quotes the key: where keys may hold what nobody should see, don't show it."""


class _NoRepeatedKeys:
    def construct_mapping(self: Any, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [key for key, _ in node.value if key.tag != _MERGE]  # a merged mapping is there to be overridden
        mapping: dict[Any, Any] = super().construct_mapping(node, deep=deep)  # type: ignore[misc]
        seen = set()
        for key_node in keys:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise RepeatedKeyError(f"line {key_node.start_mark.line + 1} names the key {key} again")
            seen.add(key)
        return mapping


# libyaml's parser takes a tenth of the time. PyYAML has it in its wheels, not in every build.
_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_BaseLoader: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


class _ValueLoader(_NoRepeatedKeys, _SafeLoader):
    pass


class _TextLoader(_NoRepeatedKeys, _BaseLoader):
    pass


def load_values(text: str) -> Any:
    """What the YAML says, with numbers and dates as such. Raises yaml.YAMLError, RepeatedKeyError, or another ValueError."""
    return yaml.load(text, _ValueLoader)


def load_texts(text: str) -> Any:
    """The same with every value as it is written: else the patient id 0123 is the octal number 83."""
    return yaml.load(text, _TextLoader)


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

"""Strict YAML and JSON parsers: they refuse duplicate keys, NaN and numbers too large for a float.

The libraries silently keep the last of duplicate keys. Messages of the JSON parser quote the file, so callers drop them.
"""

import json
import math
from collections.abc import Callable
from typing import Any

import yaml

_MERGE = "tag:yaml.org,2002:merge"


class DuplicateKeyError(ValueError):
    """A mapping contains a key twice. The message quotes the key: do not show it if keys can contain identifiers."""


class _UniqueKeys:
    def construct_mapping(self: Any, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [key for key, _ in node.value if key.tag != _MERGE]  # merged keys may be overridden
        mapping: dict[Any, Any] = super().construct_mapping(node, deep=deep)  # type: ignore[misc]
        seen = set()
        for key_node in keys:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise DuplicateKeyError(f"line {key_node.start_mark.line + 1} repeats the key {key}")
            seen.add(key)
        return mapping


# libyaml's parser is ten times faster. PyYAML's wheels include it, other builds may not.
_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_BaseLoader: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


class _ValueLoader(_UniqueKeys, _SafeLoader):
    pass


class _TextLoader(_UniqueKeys, _BaseLoader):
    pass


def load_values(text: str) -> Any:
    """Parse YAML, with typed numbers and dates. Raises yaml.YAMLError, DuplicateKeyError, or another ValueError."""
    return yaml.load(text, _ValueLoader)


def load_texts(text: str) -> Any:
    """Parse YAML with every scalar as a string: otherwise the subject id 0123 would become the octal number 83."""
    return yaml.load(text, _TextLoader)


def load_json(text: str, parse_float: Callable[[str], Any]) -> Any:
    """Raises ValueError or RecursionError."""
    return json.loads(
        text, object_pairs_hook=_require_unique_keys, parse_constant=_refuse_constant, parse_float=parse_float
    )


def parse_finite(number: str) -> float:
    value = float(number)
    if math.isinf(value):
        raise ValueError("number too large")
    return value


def _require_unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError("duplicate key")
    return dict(pairs)


def _refuse_constant(_constant: str) -> Any:
    # The library accepts NaN and Infinity, which are not JSON: all subjects without an id would become the subject "nan".
    raise ValueError("not a number")

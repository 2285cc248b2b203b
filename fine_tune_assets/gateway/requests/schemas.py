"""JSON schemas of callers, made into the few forms that every engine enforces whole.

Engines drop what they do not know without a word: llama.cpp ignores `minimum` and a second keyword beside `anyOf`, and takes a
definition called `string` for its own rule. So whatever is not surely enforced is refused by name, and references are written
out. Pure.
"""

from collections.abc import Mapping
from typing import Any

_NOTES = frozenset({"title", "description", "default", "examples", "$schema", "$id", "$comment", "deprecated"})
_OF_TYPE = {
    "object": frozenset({"properties", "required", "additionalProperties"}),
    "array": frozenset({"items", "minItems", "maxItems"}),
    "string": frozenset({"minLength", "maxLength"}),
    "integer": frozenset[str](),
    "number": frozenset[str](),
    "boolean": frozenset[str](),
    "null": frozenset[str](),
}
_COUNTS = frozenset({"minItems", "maxItems", "minLength", "maxLength"})
_MOST_REPEATED = 1000
_MOST_NODES, _DEEPEST = 500, 12
_DEFINITIONS = ("$defs", "definitions")


class SchemaError(ValueError):
    """Names the keyword, never a value."""


def enforced_schema(schema: Any) -> dict[str, Any]:
    """What is sent to the engine: an answer that fits it fits the caller's schema. Raises SchemaError."""
    if not isinstance(schema, Mapping):
        raise SchemaError("must be an object")
    definitions = {
        f"#/{place}/{name}": node for place in _DEFINITIONS for name, node in _mapping(schema, place).items()
    }
    writer = _Writer(definitions)
    written = writer.node({key: value for key, value in schema.items() if key not in _DEFINITIONS}, 0)
    if written.get("type") != "object":
        raise SchemaError("must be of the type object")
    return written


class _Writer:
    def __init__(self, definitions: Mapping[str, Any]) -> None:
        self._definitions, self._nodes = definitions, 0

    def node(self, node: Any, depth: int) -> dict[str, Any]:
        self._nodes += 1
        if self._nodes > _MOST_NODES or depth > _DEEPEST:
            raise SchemaError(f"may have {_MOST_NODES} parts, {_DEEPEST} deep, and no definition within itself")
        if not isinstance(node, Mapping):
            raise SchemaError("must consist of objects")
        plain = {key: value for key, value in node.items() if key not in _NOTES}
        written = self._written(plain, depth)
        description = node.get("description")
        return written | {"description": description} if isinstance(description, str) else written

    def _written(self, plain: Mapping[str, Any], depth: int) -> dict[str, Any]:
        if "$ref" in plain:
            return self.node(self._referred(plain), depth + 1)
        if "anyOf" in plain:
            return self._any_of(plain, depth)
        if "const" in plain or "enum" in plain:
            return _constants(plain)
        if isinstance(plain.get("type"), list):
            return self.node({"anyOf": [_of_one_type(plain, kind) for kind in plain["type"]]}, depth + 1)
        return self._typed(plain, depth)

    def _referred(self, plain: Mapping[str, Any]) -> Any:
        _allow(plain, {"$ref"})
        found = self._definitions.get(plain["$ref"]) if isinstance(plain["$ref"], str) else None
        if found is None:
            raise SchemaError("may only refer to its own $defs")
        return found

    def _any_of(self, plain: Mapping[str, Any], depth: int) -> dict[str, Any]:
        _allow(plain, {"anyOf"})
        if not isinstance(plain["anyOf"], list) or not plain["anyOf"]:
            raise SchemaError("anyOf must be a list")
        return {"anyOf": [self.node(each, depth + 1) for each in plain["anyOf"]]}

    def _typed(self, plain: Mapping[str, Any], depth: int) -> dict[str, Any]:
        kind = plain.get("type")
        if not isinstance(kind, str) or kind not in _OF_TYPE:
            raise SchemaError("needs a known type in each part")
        _allow(plain, _OF_TYPE[kind] | {"type"})
        for name in _COUNTS & set(plain):
            if not isinstance(plain[name], int) or not 0 <= plain[name] <= _MOST_REPEATED:
                raise SchemaError(f"{name} must be a whole number up to {_MOST_REPEATED}")
        written = {key: plain[key] for key in ("type", *sorted(_COUNTS)) if key in plain}
        if kind == "object":
            return written | self._object(plain, depth)
        if "items" in plain:
            written["items"] = self.node(plain["items"], depth + 1)
        elif _COUNTS & set(plain) and kind == "array":
            raise SchemaError("minItems and maxItems need items")
        return written

    def _object(self, plain: Mapping[str, Any], depth: int) -> dict[str, Any]:
        if not isinstance(plain.get("additionalProperties", True), bool):
            raise SchemaError("additionalProperties must be true or false")
        properties, required = _mapping(plain, "properties"), plain.get("required", [])
        if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
            raise SchemaError("required must be a list of names")
        if set(required) - set(properties):
            raise SchemaError("required may only name properties")
        if not properties and plain.get("additionalProperties") is not False:
            return {}
        written = {name: self.node(each, depth + 1) for name, each in properties.items()}
        # No others, also where they would be allowed: the narrower schema is what all engines enforce.
        return {"properties": written, "required": list(required), "additionalProperties": False}


def _constants(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Type and values: the values say all."""
    _allow(plain, {"const", "enum", "type"})
    values = [plain["const"]] if "const" in plain else plain["enum"]
    if "const" in plain and "enum" in plain:
        raise SchemaError("const and enum may not stand together")
    if not isinstance(values, list) or not values or any(isinstance(value, dict | list) for value in values):
        raise SchemaError("enum and const must be plain values")
    kinds = plain.get("type", [])
    if any(not _fits(value, kinds if isinstance(kinds, list) else [kinds]) for value in values):
        raise SchemaError("enum and const must be of the type beside them")
    return {"enum": values}


def _fits(value: Any, kinds: list[Any]) -> bool:
    own = {
        bool: {"boolean"}, int: {"integer", "number"}, float: {"number"}, str: {"string"}, type(None): {"null"},
    }[type(value)]  # fmt: skip
    return not kinds or bool(own & {kind for kind in kinds if isinstance(kind, str)})


def _of_one_type(plain: Mapping[str, Any], kind: Any) -> dict[str, Any]:
    kept = _OF_TYPE.get(kind, frozenset()) if isinstance(kind, str) else frozenset()
    every = frozenset().union(*_OF_TYPE.values(), {"type"})
    return {key: value for key, value in plain.items() if key in kept or key not in every} | {"type": kind}


def _allow(plain: Mapping[str, Any], allowed: set[str] | frozenset[str]) -> None:
    if set(plain) - allowed:
        raise SchemaError(f"may not use {', '.join(sorted(map(str, set(plain) - allowed)))[:100]} here")


def _mapping(node: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = node.get(name, {})
    if not isinstance(found, Mapping):
        raise SchemaError(f"{name} must be an object")
    return found

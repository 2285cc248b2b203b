"""Restricts callers' JSON schemas to the subset that every engine enforces completely.

Engines silently ignore what they do not support: llama.cpp ignores `minimum` and keywords next to `anyOf`, and confuses a
definition named `string` with its own rule. Unsupported keywords are therefore refused by name, and references are inlined.

Size limits keep the engine's grammar small: with an enum of 60,000 values, llama.cpp answered no caller for 98 seconds.
"""

import unicodedata
from collections.abc import Mapping
from typing import Any

_ANNOTATIONS = frozenset({"title", "description", "default", "examples", "$schema", "$id", "$comment", "deprecated"})
_TYPE_KEYWORDS = {
    "object": frozenset({"properties", "required", "additionalProperties"}),
    "array": frozenset({"items", "minItems", "maxItems"}),
    "string": frozenset({"minLength", "maxLength"}),
    "integer": frozenset[str](),
    "number": frozenset[str](),
    "boolean": frozenset[str](),
    "null": frozenset[str](),
}
_SIZE_KEYWORDS = frozenset({"minItems", "maxItems", "minLength", "maxLength"})
_NAMED_KEYWORDS = _SIZE_KEYWORDS.union(
    {
        "$anchor",
        "$defs",
        "$dynamicAnchor",
        "$dynamicRef",
        "$ref",
        "additionalProperties",
        "allOf",
        "anyOf",
        "const",
        "contains",
    },
    {"contentEncoding", "contentMediaType", "contentSchema", "definitions", "dependencies", "dependentRequired"},
    {
        "dependentSchemas",
        "else",
        "enum",
        "exclusiveMaximum",
        "exclusiveMinimum",
        "format",
        "if",
        "items",
        "maxContains",
    },
    {"maxProperties", "maximum", "minContains", "minProperties", "minimum", "multipleOf", "not", "oneOf", "pattern"},
    {"patternProperties", "prefixItems", "properties", "propertyNames", "required", "then", "type", "unevaluatedItems"},
    {"unevaluatedProperties", "uniqueItems"},
)
"""Of JSON Schema, which an error may name. Others are text of the caller."""
_DEFINITION_KEYS = ("$defs", "definitions")
MAX_SIZE = 1000
"""For each length and each number of items."""
MAX_NODES, MAX_DEPTH = 500, 12
MAX_VALUES = 1000
"""Values of all `enum` and `const` together."""
MAX_CHARACTERS = 30_000
"""Characters of all names and values together."""
MAX_REPEATS = 20_000
"""Sum of all lengths and numbers of items: an engine writes out each repetition."""
_MAX_SHOWN_NAME = 64
_UNWRITABLE = frozenset({"Cc", "Cn", "Co", "Cs"})
"""Unicode categories that an engine cannot write: a vocabulary lacks the bytes of planes without characters (measured)."""


class SchemaError(ValueError):
    """The schema is refused. The message names the place and the keyword, never a value."""

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(f"{reason} (at {place})")


def restrict_schema(schema: Any) -> dict[str, Any]:
    """The schema for the engine; every answer that matches it matches the caller's schema. Raises SchemaError."""
    if not isinstance(schema, Mapping):
        raise SchemaError("#", "must be an object")
    definitions = {
        f"#/{place}/{name}": node
        for place in _DEFINITION_KEYS
        for name, node in _require_mapping(schema, place, "#").items()
    }
    writer = _SchemaWriter(definitions)
    written = writer.write_node({key: value for key, value in schema.items() if key not in _DEFINITION_KEYS}, "#", 0)
    if written.get("type") != "object":
        raise SchemaError("#", "must be of the type object")
    return written


def join_place(place: str, *names: str) -> str:
    """A JSON pointer, with long names shortened."""
    shown = (name[:_MAX_SHOWN_NAME].replace("~", "~0").replace("/", "~1") for name in names)
    return "/".join([place, *(each if each.isprintable() else "…" for each in shown)])


class _SchemaWriter:
    def __init__(self, definitions: Mapping[str, Any]) -> None:
        self._definitions = definitions
        self._nodes = self._values = self._characters = self._repeats = 0

    def write_node(self, node: Any, place: str, depth: int) -> dict[str, Any]:
        self._nodes += 1
        if self._nodes > MAX_NODES or depth > MAX_DEPTH:
            raise SchemaError(
                place, f"may have at most {MAX_NODES} parts, {MAX_DEPTH} levels and no recursive definition"
            )
        if not isinstance(node, Mapping):
            raise SchemaError(place, "must consist of objects")
        plain = {key: value for key, value in node.items() if key not in _ANNOTATIONS}
        written = self._write(plain, place, depth)
        description = node.get("description")
        return written | {"description": description} if isinstance(description, str) else written

    def _write(self, plain: Mapping[str, Any], place: str, depth: int) -> dict[str, Any]:
        if "$ref" in plain:
            return self.write_node(self._resolve_ref(plain, place), place, depth + 1)
        if "anyOf" in plain:
            return self._write_any_of(plain, place, depth)
        if "const" in plain or "enum" in plain:
            return self._write_constants(plain, place)
        if isinstance(plain.get("type"), list):
            return self.write_node({"anyOf": [_narrow_type(plain, kind) for kind in plain["type"]]}, place, depth + 1)
        return self._write_typed(plain, place, depth)

    def _resolve_ref(self, plain: Mapping[str, Any], place: str) -> Any:
        _check_keywords(plain, {"$ref"}, place)
        found = self._definitions.get(plain["$ref"]) if isinstance(plain["$ref"], str) else None
        if found is None:
            raise SchemaError(place, "may only refer to its own $defs")
        return found

    def _write_any_of(self, plain: Mapping[str, Any], place: str, depth: int) -> dict[str, Any]:
        _check_keywords(plain, {"anyOf"}, place)
        if not isinstance(plain["anyOf"], list) or not plain["anyOf"]:
            raise SchemaError(place, "anyOf must be a list")
        parts = enumerate(plain["anyOf"])
        return {"anyOf": [self.write_node(each, join_place(place, "anyOf", str(n)), depth + 1) for n, each in parts]}

    def _write_typed(self, plain: Mapping[str, Any], place: str, depth: int) -> dict[str, Any]:
        kind = plain.get("type")
        if not isinstance(kind, str) or kind not in _TYPE_KEYWORDS:
            raise SchemaError(place, "needs a known type in each part")
        _check_keywords(plain, _TYPE_KEYWORDS[kind] | {"type"}, place)
        for name in sorted(_SIZE_KEYWORDS & set(plain)):
            if type(plain[name]) is not int or not 0 <= plain[name] <= MAX_SIZE:
                raise SchemaError(place, f"{name} must be a whole number up to {MAX_SIZE}")
            self._repeats += plain[name]
        if self._repeats > MAX_REPEATS:
            raise SchemaError(place, f"the lengths and numbers of items may be at most {MAX_REPEATS} in total")
        written = {key: plain[key] for key in ("type", *sorted(_SIZE_KEYWORDS)) if key in plain}
        if kind == "object":
            return written | self._write_object(plain, place, depth)
        if "items" in plain:
            written["items"] = self.write_node(plain["items"], join_place(place, "items"), depth + 1)
        elif _SIZE_KEYWORDS & set(plain) and kind == "array":
            raise SchemaError(place, "minItems and maxItems need items")
        return written

    def _write_object(self, plain: Mapping[str, Any], place: str, depth: int) -> dict[str, Any]:
        if not isinstance(plain.get("additionalProperties", True), bool):
            raise SchemaError(place, "additionalProperties must be true or false")
        properties, required = _require_mapping(plain, "properties", place), plain.get("required", [])
        if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
            raise SchemaError(place, "required must be a list of names")
        if set(required) - set(properties):
            raise SchemaError(place, "required may only name properties")
        if not properties and plain.get("additionalProperties") is not False:
            return {}
        for name in properties:
            self._check_text(name, place)
        written = {
            name: self.write_node(each, join_place(place, "properties", name), depth + 1)
            for name, each in properties.items()
        }
        # Additional properties are never allowed, even if the caller allows them: all engines enforce the narrower schema.
        return {"properties": written, "required": list(required), "additionalProperties": False}

    def _write_constants(self, plain: Mapping[str, Any], place: str) -> dict[str, Any]:
        """Reduce a node with constants to `enum`: the values imply the type."""
        _check_keywords(plain, {"const", "enum", "type"}, place)
        values = [plain["const"]] if "const" in plain else plain["enum"]
        if "const" in plain and "enum" in plain:
            raise SchemaError(place, "const and enum may not be combined")
        if not isinstance(values, list) or not values or any(isinstance(value, dict | list) for value in values):
            raise SchemaError(place, "enum and const must be plain values")
        self._values += len(values)
        if self._values > MAX_VALUES:
            raise SchemaError(place, f"enum and const may have at most {MAX_VALUES} values in total")
        kinds = plain.get("type", [])
        if any(not _has_type(value, kinds if isinstance(kinds, list) else [kinds]) for value in values):
            raise SchemaError(place, "enum and const must match the type")
        for value in values:
            self._check_text(value if isinstance(value, str) else repr(value), place)
        return {"enum": values}

    def _check_text(self, text: str, place: str) -> None:
        self._characters += len(text)
        if self._characters > MAX_CHARACTERS:
            raise SchemaError(place, f"names and values may have at most {MAX_CHARACTERS} characters in total")
        if any(unicodedata.category(character) in _UNWRITABLE for character in text):
            raise SchemaError(place, "names and values may contain only assigned characters, and no control characters")


def _has_type(value: Any, kinds: list[Any]) -> bool:
    types = {
        bool: {"boolean"}, int: {"integer", "number"}, float: {"number"}, str: {"string"}, type(None): {"null"},
    }[type(value)]  # fmt: skip
    return not kinds or bool(types & {kind for kind in kinds if isinstance(kind, str)})


def _narrow_type(plain: Mapping[str, Any], kind: Any) -> dict[str, Any]:
    own = _TYPE_KEYWORDS.get(kind, frozenset()) if isinstance(kind, str) else frozenset()
    typed = frozenset().union(*_TYPE_KEYWORDS.values(), {"type"})
    return {key: value for key, value in plain.items() if key in own or key not in typed} | {"type": kind}


def _check_keywords(plain: Mapping[str, Any], allowed: set[str] | frozenset[str], place: str) -> None:
    if refused := set(plain) - allowed:
        named = ", ".join(sorted(refused & _NAMED_KEYWORDS)) or "unknown keywords"
        raise SchemaError(place, f"may not use {named} here")


def _require_mapping(node: Mapping[str, Any], name: str, place: str) -> Mapping[str, Any]:
    found = node.get(name, {})
    if not isinstance(found, Mapping):
        raise SchemaError(place, f"{name} must be an object")
    return found

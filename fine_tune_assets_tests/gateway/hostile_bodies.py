"""Request bodies that no client should send."""

from collections.abc import Callable
from typing import Any


def an_object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def with_schema(schema: Any, **fields: Any) -> dict[str, Any]:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    return {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 32, "response_format": form} | fields


def nested(levels: int, node: Any) -> Any:
    for _ in range(levels):
        node = an_object(a=node)
    return node


def words(count: int, text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text * count}], "max_tokens": 4}


LOOP = {**an_object(a={"$ref": "#/$defs/loop"}), "$defs": {"loop": an_object(a={"$ref": "#/$defs/loop"})}}
DOUBLING = {
    "$defs": {f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n - 1}"}] * 2} for n in range(1, 60)} | {"d0": {"type": "null"}}
}
WIDE = an_object(**{f"p{n}": {"type": "null"} for n in range(400)})
BODIES: dict[str, Callable[[], dict[str, Any]]] = {
    "quote in an enum": lambda: with_schema(an_object(h={"enum": ["5' 10\""]})),
    "backslash at the end": lambda: with_schema(an_object(h={"enum": ["a\\"]})),
    "backslash and quote in a name": lambda: with_schema(an_object(**{'a\\"b': {"type": "null"}})),
    "null in an enum": lambda: with_schema(an_object(h={"enum": ["\0"]})),
    "null in a message": lambda: words(1, "a\0b"),
    "60,000 values": lambda: with_schema(an_object(h={"enum": [f"v{n}" for n in range(60_000)]})),
    "1,000 values of one beginning": lambda: with_schema(
        an_object(h={"enum": [f"the same words, then {n:04}" for n in range(1000)]}), temperature=2.0
    ),
    "400 levels": lambda: with_schema(nested(400, {"type": "null"})),
    "endless reference": lambda: with_schema(LOOP),
    "references that double": lambda: with_schema(an_object(a={"$ref": "#/$defs/d59"}) | DOUBLING),
    "499 long strings": lambda: with_schema(
        an_object(**{f"p{n}": {"type": "string", "minLength": 1000, "maxLength": 1000} for n in range(499)})
    ),
    "lists of lists of lists": lambda: with_schema(
        an_object(a={"type": "array", "minItems": 999, "items": {"type": "array", "minItems": 999, "items": {"type": "null"}}})
    ),
    "impossible string": lambda: with_schema(an_object(a={"type": "string", "minLength": 9, "maxLength": 1})),
    "30,000 messages": lambda: {"messages": [{"role": "user", "content": "a"}] * 30_000, "max_tokens": 4},
    "1,000 messages": lambda: {"messages": [{"role": "user", "content": "a"}] * 1000, "max_tokens": 4},
    "900 kB of blanks": lambda: words(900_000, " "),
    "900 kB of one letter": lambda: words(900_000, "a"),
    "900 kB of words": lambda: words(180_000, "word "),
    "64 tools of 500 parts": lambda: {
        "messages": [{"role": "user", "content": "hi"}],
        "tool_choice": "required",
        "tools": [
            {"type": "function", "function": {"name": f"t{n}", "parameters": WIDE}} for n in range(64)
        ],
    },
}  # fmt: skip

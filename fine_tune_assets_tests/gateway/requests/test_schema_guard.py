"""Schemas are compiled in a process that may die, before an engine gets them."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from fine_tune_assets.gateway.requests.enforceable_schemas import (
    MAX_CHARACTERS,
    MAX_REPEATS,
    MAX_VALUES,
    SchemaError,
    restrict_schema,
)
from fine_tune_assets.gateway.requests.schema_guard import SchemaGuard

FRAGILE = (
    "import json, os, sys, time\n"
    "for line in sys.stdin:\n"
    "    if 'crash' in line: os.abort()\n"
    "    if 'hang' in line: time.sleep(60)\n"
    "    print(json.dumps({'is_compiled': True}), flush=True)\n"
)
"""A compiler that ends or hangs at some schemas."""


def an_object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def guarded(
    scenario: Callable[[SchemaGuard], Awaitable[None]], command: tuple[str, ...] | None = None, seconds: float = 20
) -> None:
    async def run() -> None:
        guard = SchemaGuard(compile_seconds=seconds) if command is None else SchemaGuard(command, seconds)
        try:
            await scenario(guard)
        finally:
            await guard.close()

    asyncio.run(run())


def test_what_engines_can_enforce_is_compiled() -> None:
    """Among it the values that ended an engine: quotes after backslashes, and characters beyond the BMP."""
    schemas = [
        an_object(height={"enum": ["5' 10\"", "a\\", "\\\"", "\U0001f600é"]}, n={"type": "integer"}),
        an_object(**{'a"b\\c/~': {"type": "string", "maxLength": 1000}}),
        an_object(a={"enum": [f"v{n}" for n in range(MAX_VALUES)]}),
        an_object(a={"type": "array", "items": {"anyOf": [{"type": "null"}, {"type": "number"}]}, "maxItems": 1000}),
    ]  # fmt: skip

    async def scenario(guard: SchemaGuard) -> None:
        for schema in schemas:
            await guard.require_compiled(restrict_schema(schema))

    guarded(scenario)


def test_the_part_that_no_answer_can_match_is_named() -> None:
    """The caller sees where in a large schema to look."""
    impossible = {"type": "string", "minLength": 5, "maxLength": 2}
    schema = an_object(
        fine={"type": "string"}, list={"type": "array", "items": an_object(side=impossible), "minItems": 1}
    )

    async def scenario(guard: SchemaGuard) -> None:
        with pytest.raises(SchemaError, match="#/properties/list/items/properties/side"):
            await guard.require_compiled(restrict_schema(schema))

    guarded(scenario)


@pytest.mark.parametrize("fault", ["crash", "hang"])
def test_a_compiler_that_ends_or_hangs_refuses_the_schema_and_the_next_one_gets_a_new_compiler(fault: str) -> None:
    """The fault stays in the guard's process. The refusal is remembered: the schema costs one process."""
    refused = an_object(side={"enum": [fault]})

    async def scenario(guard: SchemaGuard) -> None:
        await guard.require_compiled(an_object(a={"type": "string"}))
        first = guard._process
        for _ in range(2):
            with pytest.raises(SchemaError, match="#/properties/side"):
                await guard.require_compiled(refused)
        await guard.require_compiled(an_object(b={"type": "string"}))
        assert guard._process is not None
        assert guard._process is not first

    guarded(scenario, (sys.executable, "-c", FRAGILE), seconds=1 if fault == "hang" else 20)


@pytest.mark.parametrize(
    ("part", "place"),
    [
        ({"enum": [f"v{n}" for n in range(MAX_VALUES + 1)]}, "#/properties/a"),
        ({"enum": ["x" * MAX_CHARACTERS]}, "#/properties/a"),
        ({"enum": ["a\tb"]}, "#/properties/a"),
        ({"const": "\x00"}, "#/properties/a"),
        (an_object(**{"a\x1b": {"type": "null"}}), "#/properties/a"),
        (an_object(**{"x" * 100: {"type": "nul"}}), "#/properties/a/properties/" + "x" * 64),
        (an_object(**{"a/b": {"type": "nul"}}), "#/properties/a/properties/a~1b"),
        (an_object(**{f"p{n}": {"type": "string", "maxLength": 1000} for n in range(MAX_REPEATS // 1000 + 1)}), "#/properties/a"),
        ({"anyOf": [{"type": "null"}, {"type": "string", "minLength": True}]}, "#/properties/a/anyOf/1"),
    ],
)  # fmt: skip
def test_oversized_parts_and_control_characters_are_refused_with_their_place(part: dict[str, Any], place: str) -> None:
    """An enum of 60,000 values stopped every caller for 98 seconds."""
    with pytest.raises(SchemaError) as caught:
        restrict_schema(an_object(a=part))
    assert f"(at {place}" in str(caught.value)

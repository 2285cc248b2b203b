"""Compiles callers' schemas in a separate process before an engine gets them.

A schema that cannot be compiled could end an engine, or keep it busy for all callers.
"""

import asyncio
import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from fine_tune_assets.core.fingerprints import fingerprint_text
from fine_tune_assets.gateway.requests.enforceable_schemas import SchemaError, join_place

COMPILER = (sys.executable, "-m", "fine_tune_assets.gateway.requests.schema_compiler")
_COMPILE_SECONDS = 5.0
"""The largest accepted schema takes 0.03 s."""
_SIMPLE, _START_SECONDS = '{"type": "object"}', 30.0
"""A new process compiles this first, with a separate time limit."""
_MAX_KNOWN = 1000
"""Results that are kept."""
_MAX_TRIALS = 30
"""Parts that are compiled to find the one that fails."""


class SchemaGuard:
    """One compiler process, started with the first schema and restarted when it ends. Used from one event loop."""

    def __init__(self, command: tuple[str, ...] = COMPILER, compile_seconds: float = _COMPILE_SECONDS) -> None:
        self._command, self._compile_seconds = command, compile_seconds
        self._process: asyncio.subprocess.Process | None = None
        self._lock = asyncio.Lock()
        self._known: dict[str, bool] = {}

    async def require_compiled(self, schema: Mapping[str, Any]) -> None:
        """Raises SchemaError with the smallest part that cannot be compiled."""
        if self._known.get(fingerprint_text(json.dumps(schema)), False):
            return
        async with self._lock:
            if not await self._is_compiled(schema):
                place = await self._find_failing_part(schema)
                raise SchemaError(place, "no answer can match this part, or it is too complex")

    async def _find_failing_part(self, schema: Mapping[str, Any]) -> str:
        place, part, trials = "#", schema, 0
        while True:
            for name, child in _list_parts(part):
                if trials == _MAX_TRIALS:
                    return place
                trials += 1
                if not await self._is_compiled(child):
                    place, part = join_place(place, *name), child
                    break
            else:
                return place

    async def _is_compiled(self, schema: Mapping[str, Any]) -> bool:
        text = json.dumps(schema)
        name = fingerprint_text(text)
        if name not in self._known:
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            self._known[name] = await self._compile(text)
        return self._known[name]

    async def _compile(self, text: str) -> bool:
        """False also if a new process ends or takes too long: the old one may have ended for another reason."""
        is_new = self._process is None or self._process.returncode is not None
        try:
            if is_new:
                self._process = await asyncio.create_subprocess_exec(
                    *self._command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
                )
                await _exchange(self._process, _SIMPLE, _START_SECONDS)
            assert self._process is not None
            return await _exchange(self._process, text, self._compile_seconds)
        except (TimeoutError, OSError, ValueError):
            await self.close()
            return False if is_new else await self._compile(text)
        except BaseException:
            await self.close()  # cancelled: the answer that is still to come belongs to no later schema
            raise

    async def close(self) -> None:
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()


async def _exchange(process: asyncio.subprocess.Process, text: str, seconds: float) -> bool:
    assert process.stdin is not None
    assert process.stdout is not None
    async with asyncio.timeout(seconds):
        process.stdin.write(text.encode() + b"\n")
        await process.stdin.drain()
        return bool(json.loads(await process.stdout.readline())["is_compiled"])


def _list_parts(schema: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    """The names and schemas one level below."""
    for name, part in schema.get("properties", {}).items():
        yield ("properties", name), part
    for number, part in enumerate(schema.get("anyOf", ())):
        yield ("anyOf", str(number)), part
    if "items" in schema:
        yield ("items",), schema["items"]

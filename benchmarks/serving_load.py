"""Streams of chat completions against a gateway or an engine's socket: their speed, their times and how many failed."""

import asyncio
import json
import math
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import httpx

from fine_tune_assets.core.keys import read_or_create_key
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.engines.listen_addresses import base_url, socket_path
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.encryption import KEY_NAME
from fine_tune_assets.ledger.serving.deployments import find_live_deployment, open_engine_key

TWICE_UP_TO = 32
"""Streams up to which a load is measured twice, because figures of few streams vary."""


@dataclass(frozen=True)
class Burst:
    """Results of streams that started at the same time."""

    streams: int
    tokens_per_second: float
    first_word_p50: float
    first_word_p95: float
    whole_p50: float
    whole_p95: float
    failed: int
    told_to_come_again: int


@dataclass(frozen=True)
class Reached:
    """Where requests go: the gateway, or an engine's socket."""

    url: str
    key: str
    socket: Path | None = None
    system: str = ""


def reach_engine(settings: Settings, ledger: Ledger, system: str) -> Reached:
    """The production engine's own socket, around the gateway. `system`: the release's system prompt, which the gateway adds."""
    live = find_live_deployment(ledger)
    if live is None or live.engine_url is None:
        raise RuntimeError("No engine is live.")
    key = open_engine_key(read_or_create_key(settings.layout.keys, KEY_NAME), live.deployment_id, live.engine_key)
    return Reached(base_url(live.engine_url), key, socket_path(live.engine_url), system)


def open_client(where: Reached) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=None)
    transport = httpx.AsyncHTTPTransport(uds=None if where.socket is None else str(where.socket), limits=limits)
    return httpx.AsyncClient(
        base_url=where.url,
        headers={"Authorization": f"Bearer {where.key}"},
        transport=transport,
        timeout=httpx.Timeout(900),
        trust_env=False,
    )


def request_body(where: Reached, number: int, tokens: int, is_stream: bool = True) -> dict[str, Any]:
    asked = [{"role": "user", "content": f"Write a long note about visit {number}. List everything that was done."}]
    system = [{"role": "system", "content": where.system}] if where.system else []
    model = {} if where.system else {"model": "live"}
    return {**model, "messages": system + asked, "max_tokens": tokens, "temperature": 0, "stream": is_stream}


async def run_burst(where: Reached, streams: int, tokens: int, first: int = 0) -> Burst:
    """`first`: number of the first prompt. An engine answers a prompt sooner if it has read it before."""
    async with open_client(where) as client:
        began = time.monotonic()
        ends = await asyncio.gather(
            *(run_stream(client, where, number, tokens) for number in range(first, first + streams))
        )
        seconds = time.monotonic() - began
    whole = [end for end in ends if end["is_whole"]]
    times, firsts = ([end[figure] for end in whole] or [math.nan] for figure in ("seconds", "first"))
    return Burst(
        streams,
        sum(end["words"] for end in whole) / seconds,
        statistics.median(firsts),
        percentile(firsts, 0.95),
        statistics.median(times),
        percentile(times, 0.95),
        sum(not end["is_whole"] and end["status"] != 429 for end in ends),
        sum(end["status"] == 429 for end in ends),
    )


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of the values does not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def combine_bursts(bursts: list[Burst]) -> Burst:
    """Combine loads with the same number of requests: mean speed and times, total failures."""
    streams, *times, failed, later = zip(*map(astuple, bursts), strict=True)
    return Burst(streams[0], *map(statistics.fmean, times), sum(failed), sum(later))


def compare_bursts(alone: Reached, gateway: Reached, streams: int, tokens: int) -> dict[str, Burst]:
    """Engine and gateway in turns; few streams twice, the second time in reverse order.

    No prompt is sent twice, so that no burst profits from the engine's prefix cache. The first burst does not count: the first
    batch of a size is slower.
    """
    asyncio.run(run_burst(alone, streams, 2))
    order = [alone, gateway, gateway, alone] if streams <= TWICE_UP_TO else [alone, gateway]
    seen: dict[str, list[Burst]] = {alone.url: [], gateway.url: []}
    for turn, where in enumerate(order, start=1):
        seen[where.url].append(asyncio.run(run_burst(where, streams, tokens, first=turn * streams)))
    return {"alone": combine_bursts(seen[alone.url]), "gateway": combine_bursts(seen[gateway.url])}


async def run_stream(client: httpx.AsyncClient, where: Reached, number: int, tokens: int) -> dict[str, Any]:
    """One stream: the times of its first and last words, and whether it completed."""
    began, first, words, is_whole, status = time.monotonic(), 0.0, 0, False, 0
    try:
        async with client.stream("POST", "chat/completions", json=request_body(where, number, tokens)) as reply:
            status = reply.status_code
            async for line in reply.aiter_lines():
                is_whole |= line == "data: [DONE]"
                if line.startswith("data: {") and has_words(line):
                    words += 1
                    first = first or time.monotonic() - began
                if "stream_broken" in line:
                    break
    except httpx.HTTPError:
        is_whole = False
    return {"first": first, "seconds": time.monotonic() - began, "words": words, "is_whole": is_whole, "status": status}


def has_words(line: str) -> bool:
    """Whether an event contains text: the first one has only the role, and the last ones are empty."""
    choices = json.loads(line.removeprefix("data: ")).get("choices") or [{}]
    return bool((choices[0].get("delta") or {}).get("content"))


@asynccontextmanager
async def steady_load(
    gateway: Reached, load: int, tokens: int = 8, pause_seconds: float = 0
) -> AsyncIterator[list[dict[str, Any]]]:
    """Run `load` callers that request one stream after another. The list of their ends is complete when the context exits."""
    ending, ends = asyncio.Event(), list[dict[str, Any]]()

    async def ask_on(number: int) -> None:
        async with open_client(gateway) as client:
            while not ending.is_set():
                ends.append(await run_stream(client, gateway, number, tokens))
                await asyncio.sleep(pause_seconds)

    tasks = [asyncio.create_task(ask_on(number)) for number in range(load)]
    try:
        yield ends
    finally:
        ending.set()
        await asyncio.gather(*tasks)


def count_ends(ends: list[dict[str, Any]]) -> dict[str, int]:
    return {"streams": len(ends), "failed_or_cut": sum(not end["is_whole"] for end in ends)}

"""Measure the time to the first token of one caller while another uses everything that it may, through the gateway.

The heavy caller holds 200 streams with the longest prompts and answers that fit into the context; whenever one ends, the next
begins. The other caller sends one request at a time. The peer is the same engine without the gateway, with the same load: its
queue is first come, first served. Prints a table, then one JSON line. Exit status 1 if the target is missed.
"""

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from benchmarks.bench_serve import START_SECONDS, _engine, _release, _running
from benchmarks.serving_load import Reached, has_words, open_client
from fine_tune_assets.core.processes.offline import go_offline
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.engines.running_server import free_port
from fine_tune_assets.ledger.database import open_ledger
from fine_tune_assets.ledger.people.api_keys import create_key
from fine_tune_assets.serving.rollout import deploy_release
from fine_tune_assets.training.base_models.registration import import_bundled_model

MOST_TIMES_IDLE = 3.0
ANSWER_TOKENS = 256
PROMPT_WORDS = 1500
"""With the answer, about the context of 2048 tokens."""
REQUESTS = {"short": "Say hello.", "typical": "Summarize: " + "The patient reports mild pain in the left knee. " * 30}
"""A question, and a paragraph of about 300 tokens."""


@dataclass(frozen=True)
class FirstTokens:
    """Seconds to the first token."""

    requests: int
    p50: float
    p95: float
    longest: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--requests", type=int, default=12, help="requests of the other caller in each state")
    parser.add_argument(
        "--peer-requests", type=int, default=1, help="at the bare engine, where each can wait for minutes"
    )
    parser.add_argument(
        "--peer-seconds", type=float, default=30.0, help="after which a request at the bare engine is given up"
    )
    given = parser.parse_args()
    go_offline()
    found: dict[str, Any] = {"load_average": os.getloadavg(), "cores": os.cpu_count(), "streams": given.streams}
    with tempfile.TemporaryDirectory(prefix="bench-fairness-") as scratch:
        base = import_bundled_model(Path(scratch) / "base")
        settings = Settings(data_dir=Path(scratch) / "data", gateway={"port": free_port()})
        ledger = open_ledger(settings)
        with _running(settings):
            deploy_release(ledger, _release(settings, ledger, "llama_cpp", base, 1), timeout_seconds=START_SECONDS)
            url = f"http://127.0.0.1:{settings.gateway.port}/v1"
            heavy, light = (Reached(url, create_key(ledger, name, ["chat"]).secret) for name in ("heavy", "light"))
            alone = _engine(settings, ledger)
            for name, text in REQUESTS.items():
                found[name] = asyncio.run(_measure(heavy, light, text, given))
            found["engine alone"] = asyncio.run(_measure_peer(alone, REQUESTS["short"], given))
        ledger.close()
    found["off"] = [
        f"{name}: p95 is {found[name]['times_idle']:.1f} times the idle p95"
        for name in REQUESTS
        if found[name]["times_idle"] > MOST_TIMES_IDLE
    ]
    _show(found)
    print(json.dumps(found))
    if found["off"]:
        raise SystemExit(1)


async def _measure(heavy: Reached, light: Reached, text: str, given: argparse.Namespace) -> dict[str, Any]:
    async with open_client(light) as client:
        await _first_tokens(client, light, text, 5)  # a new engine is slower at first
        idle = await _first_tokens(client, light, text, given.requests)
        async with _loaded(heavy, given.streams) as ends:
            loaded = await _first_tokens(client, light, text, given.requests)
    times = loaded.p95 / idle.p95
    return {"idle": asdict(idle), "loaded": asdict(loaded), "times_idle": times, "heavy_answers": len(ends)}


async def _measure_peer(engine: Reached, text: str, given: argparse.Namespace) -> dict[str, Any]:
    """Seconds to the first token at the bare engine; None for a request that was given up."""
    waits: list[float | None] = []
    async with open_client(engine) as client, _loaded(engine, given.streams):
        for _ in range(given.peer_requests):
            try:
                async with asyncio.timeout(given.peer_seconds):
                    waits.append((await _first_tokens(client, engine, text, 1)).p50)
            except TimeoutError:
                waits.append(None)
    return {"waits": waits, "given_up_after": given.peer_seconds}


@asynccontextmanager
async def _loaded(where: Reached, streams: int) -> AsyncIterator[list[int]]:
    """The heavy caller's streams, each followed by the next; yields the numbers of those that ended."""
    ends: list[int] = []

    async def ask_on(number: int) -> None:
        async with open_client(where) as client:
            while True:
                text = f"{number} " + "word " * PROMPT_WORDS
                async with client.stream("POST", "chat/completions", json=_body(where, text, ANSWER_TOKENS)) as reply:
                    async for _ in reply.aiter_lines():
                        pass
                ends.append(number)
                number += streams

    tasks = [asyncio.create_task(ask_on(number)) for number in range(streams)]
    await asyncio.sleep(5)
    try:
        yield ends
    finally:
        for task in tasks:
            task.cancel()
        with suppress(Exception):
            await asyncio.gather(*tasks, return_exceptions=True)


async def _first_tokens(client: httpx.AsyncClient, where: Reached, text: str, count: int) -> FirstTokens:
    times = []
    for number in range(count):
        began = time.monotonic()
        body = _body(where, f"{number}. {text}", 8)
        first = 0.0
        async with client.stream("POST", "chat/completions", json=body) as reply:
            reply.raise_for_status()
            async for line in reply.aiter_lines():
                if not first and line.startswith("data: {") and has_words(line):
                    first = time.monotonic() - began
        times.append(first)
        await asyncio.sleep(0.1)
    times.sort()
    return FirstTokens(count, statistics.median(times), times[int(0.95 * (count - 1))], times[-1])


def _body(where: Reached, text: str, tokens: int) -> dict[str, Any]:
    system = [{"role": "system", "content": where.system}] if where.system else []
    model = {} if where.system else {"model": "live"}
    turn = {"role": "user", "content": text}
    return {**model, "messages": [*system, turn], "max_tokens": tokens, "temperature": 0, "stream": True}


def _show(found: dict[str, Any]) -> None:
    table = Table(title=f"Seconds to the first token under {found['streams']} streams of another caller")
    for name in ("request", "idle p50", "idle p95", "loaded p50", "loaded p95", "times idle", "heavy answers"):
        table.add_column(name, justify="left" if name == "request" else "right")
    for name in REQUESTS:
        row = found[name]
        figures = [row["idle"]["p50"], row["idle"]["p95"], row["loaded"]["p50"], row["loaded"]["p95"]]
        table.add_row(name, *(f"{each:.3f}" for each in figures), f"{row['times_idle']:.1f}", str(row["heavy_answers"]))
    Console(width=120).print(table)
    peer = found["engine alone"]
    waits = ", ".join("given up" if wait is None else f"{wait:.1f} s" for wait in peer["waits"])
    print(f"The engine without the gateway, short requests: {waits} (given up after {peer['given_up_after']:g} s)")


if __name__ == "__main__":
    main()

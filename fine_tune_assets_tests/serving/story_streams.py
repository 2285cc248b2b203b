"""Streams of a real engine that are under way, for tests of what its end does to them."""

import threading
from typing import Any

import httpx

from fine_tune_assets.engines.addresses import open_client
from fine_tune_assets.engines.running_server import RunningEngine

MARKER = "zebrafinch7731"
"""In what is asked: it must be in no log."""


def streams_begun(engine: RunningEngine, count: int, tokens: int) -> tuple[list[threading.Thread], list[Any]]:
    """So many streams, the first words of all of which are here; and how each ended, as they do: True if whole."""
    got, begun = list[Any](), threading.Semaphore(0)
    threads = [threading.Thread(target=_ask, args=(engine, tokens, begun, got)) for _ in range(count)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert begun.acquire(timeout=120)
    return threads, got


def _ask(engine: RunningEngine, tokens: int, begun: threading.Semaphore, got: list[Any]) -> None:
    body = {
        "model": engine.alias,
        "messages": [{"role": "user", "content": f"Tell a long story about {MARKER}."}],
        "max_tokens": tokens,
        "temperature": 0,
        "stream": True,
    }
    try:
        with (
            open_client(engine.url, engine.api_key, 300) as client,
            client.stream("POST", "chat/completions", json=body) as reply,
        ):
            parts = reply.iter_text()
            text = next(parts)
            begun.release()
            got.append((text + "".join(parts)).rstrip().endswith("[DONE]"))
    except httpx.HTTPError as error:
        got.append(type(error).__name__)

"""Streams of a real engine in progress, for tests of its shutdown."""

import threading
from typing import Any

import httpx

from fine_tune_assets.engines.listen_addresses import open_client
from fine_tune_assets.engines.running_server import RunningEngine

MARKER = "zebrafinch7731"
"""Part of the prompt; it must appear in no log."""


def streams_begun(engine: RunningEngine, count: int, tokens: int) -> tuple[list[threading.Thread], list[Any]]:
    """Start `count` streams and wait for the first text of each.

    Returns the threads, and a list that fills with each stream's result: True if it was complete, otherwise the error's type.
    """
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

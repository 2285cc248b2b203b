"""llama.cpp through llama-cpp-python's server: one GGUF file, one answer at a time; others wait in line.

Owns starting it. It is there after `make setup`; `llama_server` starts llama.cpp's own server, which answers several at once.
"""

import json
import os
import sys
from pathlib import Path

import httpx

from fine_tune_assets.engines.addresses import socket_address
from fine_tune_assets.engines.running import (
    CONFIG,
    CONTEXT_TOKENS,
    HOST,
    SHUTDOWN_SECONDS,
    RunningEngine,
    engine_environment,
    launch,
    loopback_url,
    new_key,
    write_private,
)

PROGRAM = "The llama-cpp-python server"
ALL_LAYERS = -1
"""On the GPU. llama.cpp looks for one itself, and computes on the processor where there is none."""


def start_engine(
    model: Path,
    alias: str,
    folder: Path,
    *,
    threads: int,
    die_with_parent: bool,
    tells_probabilities: bool = False,
    context_tokens: int = CONTEXT_TOKENS,
    gpu_layers: int = 0,
    socket: Path | None = None,
) -> RunningEngine:
    """Start a server for `model` and return at once; it is not healthy yet. `threads` 0 means all.

    It listens on `socket`, or on a port of loopback if there is none. `tells_probabilities`: answer questions about tokens'
    probabilities. It then keeps those of every token of a prompt, 4 bytes for each word of the vocabulary: 1 GB for 2048 tokens
    of Llama 3. `gpu_layers`: how many of its layers a GPU computes. What was installed without support for one takes no notice.
    """
    api_key = new_key()
    url = loopback_url() if socket is None else socket_address(socket)
    count = threads or os.cpu_count() or 1
    model_settings = {
        "model": str(model),
        "model_alias": alias,
        "n_ctx": context_tokens,
        "n_gpu_layers": gpu_layers,
        # Said in any case: the server's own default is to keep them.
        "logits_all": tells_probabilities,
        "n_threads": count,
        "n_threads_batch": count,
        "verbose": False,
    }
    # Without interrupt_requests off, a new request cuts off the answer that is being streamed to somebody else.
    config = {"api_key": api_key, "interrupt_requests": False, "models": [model_settings]}
    write_private(folder / CONFIG, json.dumps(config))
    serves_users = not die_with_parent
    waits = ["--timeout-graceful-shutdown", str(SHUTDOWN_SECONDS)] if serves_users else []
    place = ["--host", HOST, "--port", str(httpx.URL(url).port)] if socket is None else ["--uds", str(socket)]
    return launch(
        [
            sys.executable,
            "-m",
            "uvicorn",
            "--factory",
            "fine_tune_assets.engines.llama_cpp_app:create_app",
            *place,
            *waits,
        ],
        {**engine_environment(os.environ), "CONFIG_FILE": str(folder / CONFIG)},
        alias,
        url,
        api_key,
        folder,
        die_with_parent,
        program=PROGRAM,
        at_once=1,
        shutdown_seconds=SHUTDOWN_SECONDS if serves_users else 0,
    )

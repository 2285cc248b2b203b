"""Serves one GGUF file with llama.cpp's server, which answers several requests at once by continuous batching.

The bundled server comes from the package `xllamacpp` and runs in a separate process. FINE_TUNE_LLAMA_SERVER can name another
`llama-server`, such as a GPU build, with the same model and options.
"""

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from fine_tune_assets.engines.listen_addresses import socket_address
from fine_tune_assets.engines.running_server import (
    CONFIG_FILE,
    CONTEXT_TOKENS,
    HOST,
    KEY_FILE,
    SHUTDOWN_SECONDS,
    EngineError,
    RunningEngine,
    engine_environment,
    launch_engine,
    loopback_url,
    new_api_key,
    write_private_file,
)

BUNDLED_PROGRAM = "llama.cpp's server"
PROGRAM = "llama-server"
ALL_LAYERS = -1
"""Number of layers on the GPU. A build without GPU support ignores it."""
CACHE_MIB = 1024
"""MiB of memory for the prompt cache. Enough for the system prompt that all requests share."""
_SPIN_COUNT = "300"
"""OpenMP threads synchronize some hundred times per token by spinning. With the default, two engines on the same cores, as during
a switch, block each other: 87 tokens/s together against 233 alone; with this setting, 210 together (2 cores, 8 streams each,
SmolLM2-135M)."""


@dataclass(frozen=True)
class GgufFiles:
    """A complete model, or a base model with a LoRA adapter."""

    model: Path
    adapter: Path | None = None


def find_llama_server(configured: str) -> Path | None:
    """The configured `llama-server`; None for the bundled one. Raises EngineError if it cannot be run."""
    if not configured:
        return None
    path = Path(configured).expanduser()
    if not path.is_file() or not os.access(path, os.X_OK):
        raise EngineError(
            f"FINE_TUNE_LLAMA_SERVER names {path}, which is not an executable file. Correct or clear the setting."
        )
    return path.absolute()


def start_llama_cpp(
    model: Path,
    alias: str,
    folder: Path,
    *,
    threads: int,
    die_with_parent: bool,
    parallel: int = 1,
    context_tokens: int = CONTEXT_TOKENS,
    adapter: Path | None = None,
    gpu_layers: int = 0,
    batch_tokens: int = 0,
    shares_weights: bool = False,
    socket: Path | None = None,
    program: Path | None = None,
    chat_template: Path | None = None,
) -> RunningEngine:
    """Start a server for `model` and return at once; it is not healthy yet.

    `threads` 0 means all cores. `context_tokens` is the limit per request, prompt and answer together. `adapter` is a LoRA GGUF
    for `model`. `batch_tokens` are read in one step; 0 means the server's default. With `shares_weights`, weights stay as they
    are in the file, and all engines on it share that memory; otherwise each engine rearranges them in a copy. Without `socket`
    the server listens on a loopback port. `program` replaces the bundled server,
    `chat_template` the model's own template.
    """
    api_key = new_api_key()
    url = loopback_url() if socket is None else socket_address(socket)
    write_private_file(folder / KEY_FILE, api_key + "\n")
    options = {
        "model": str(model),
        "alias": alias,
        "host": HOST if socket is None else str(socket),
        "port": httpx.URL(url).port if socket is None else 0,
        "api-key-file": str(folder / KEY_FILE),
        "ctx-size": context_tokens * parallel,  # the server divides it among its slots
        "parallel": parallel,
        "threads": threads or os.cpu_count() or 1,
        "n-gpu-layers": gpu_layers,
        "cache-ram": CACHE_MIB,
        "batch-size": batch_tokens,
        "ubatch-size": batch_tokens,
        "no-repack": shares_weights,
        "lora": "" if adapter is None else str(adapter),
        "chat-template-file": "" if chat_template is None else str(chat_template),
    }
    write_private_file(folder / CONFIG_FILE, json.dumps(options))
    bundled = [sys.executable, "-m", "fine_tune_assets.engines.llama_cpp_process", str(folder / CONFIG_FILE)]
    return launch_engine(
        bundled if program is None else llama_server_command(program, options),
        _limit_spinning(engine_environment(os.environ)),
        alias,
        url,
        api_key,
        folder,
        die_with_parent,
        program=BUNDLED_PROGRAM if program is None else PROGRAM,
        max_concurrency=parallel,
        shutdown_seconds=0 if die_with_parent else SHUTDOWN_SECONDS,
        is_drained_first=not die_with_parent,  # measured: at SIGTERM, streams stall and break after 30 seconds
    )


def llama_server_command(program: Path, options: Mapping[str, object]) -> list[str]:
    """The command line equivalent of the bundled server's options. Empty options and 0 keep the server's default."""
    given = {name: value for name, value in options.items() if value not in ("", 0, False)}
    arguments = [
        str(word)
        for name, value in given.items()
        for word in ((f"--{name}", value) if value is not True else (f"--{name}",))
    ]
    # Without these flags it serves a web UI, and /slots exposes the requests of other clients.
    return [str(program), *arguments, "--no-ui", "--no-slots", "--offline"]


def _limit_spinning(environment: dict[str, str]) -> dict[str, str]:
    """Respects OMP_WAIT_POLICY and GOMP_SPINCOUNT of the operator; GOMP_SPINCOUNT would override OMP_WAIT_POLICY."""
    has_own = environment.keys() & {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"}
    return environment if has_own else {**environment, "GOMP_SPINCOUNT": _SPIN_COUNT}

"""Serves one GGUF file with llama.cpp's own server: several answers at once by continuous batching.

The server comes in the package `xllamacpp` and runs in a process of its own. A setting names another `llama-server`, such as one
built for a GPU; it takes the same model and answers in the same way.
"""

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from fine_tune_assets.engines.addresses import socket_address
from fine_tune_assets.engines.running_server import (
    CONFIG,
    CONTEXT_TOKENS,
    HOST,
    KEY,
    SHUTDOWN_SECONDS,
    EngineError,
    RunningEngine,
    engine_environment,
    launch,
    loopback_url,
    new_key,
    write_private,
)

BUNDLED = "llama.cpp's server"
PROGRAM = "llama-server"
ALL_LAYERS = -1
"""Layers on the GPU. A build without GPU support ignores it."""
CACHE_MIB = 1024
"""Prompts of earlier requests that are kept in memory. Enough for the system prompt that all requests share."""
_SPIN_COUNT = "300"
"""OpenMP threads synchronize some hundred times per token by spinning. With the default, two engines on the same cores, as during
a switch, block each other: 87 tokens/s together where one alone gives 233; with this 210 together (2 cores, 8 streams each,
SmolLM2-135M)."""


@dataclass(frozen=True)
class GgufFiles:
    """What is served: a whole model, or a base model with a LoRA adapter."""

    model: Path
    adapter: Path | None = None


def find_llama_server(named: str) -> Path | None:
    """The `llama-server` that a setting names; None for the bundled one. Raises EngineError if it cannot be run."""
    if not named:
        return None
    path = Path(named).expanduser()
    if not path.is_file() or not os.access(path, os.X_OK):
        raise EngineError(
            f"FINE_TUNE_LLAMA_SERVER names {path}, which is not an executable file. Fix or empty the setting."
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
    socket: Path | None = None,
    program: Path | None = None,
) -> RunningEngine:
    """Start a server for `model` and return at once; it is not healthy yet.

    `threads` 0 means all cores. `context_tokens` is per answer, prompt included. `adapter` is a LoRA GGUF that is applied to
    `model`. Without `socket` it listens on a loopback port. `program` replaces the bundled server.
    """
    api_key = new_key()
    url = loopback_url() if socket is None else socket_address(socket)
    write_private(folder / KEY, api_key + "\n")
    options = {
        "model": str(model),
        "alias": alias,
        "host": HOST if socket is None else str(socket),
        "port": httpx.URL(url).port if socket is None else 0,
        "api-key-file": str(folder / KEY),
        "ctx-size": context_tokens * parallel,  # the server divides it among its slots
        "parallel": parallel,
        "threads": threads or os.cpu_count() or 1,
        "n-gpu-layers": gpu_layers,
        "cache-ram": CACHE_MIB,
        "lora": "" if adapter is None else str(adapter),
    }
    write_private(folder / CONFIG, json.dumps(options))
    bundled = [sys.executable, "-m", "fine_tune_assets.engines.llama_cpp_process", str(folder / CONFIG)]
    return launch(
        bundled if program is None else llama_server_command(program, options),
        _sharing_cores(engine_environment(os.environ)),
        alias,
        url,
        api_key,
        folder,
        die_with_parent,
        program=BUNDLED if program is None else PROGRAM,
        at_once=parallel,
        shutdown_seconds=0 if die_with_parent else SHUTDOWN_SECONDS,
        cuts_off=not die_with_parent,  # measured: at SIGTERM streams stall, and break after 30 seconds
    )


def llama_server_command(program: Path, options: Mapping[str, object]) -> list[str]:
    """The command line that serves what the bundled server would. Options without a value keep the server's default."""
    named = [str(word) for name, value in options.items() if value not in ("", 0) for word in (f"--{name}", value)]
    # Without these it serves web pages, and tells any client what each slot computes.
    return [str(program), *named, "--no-ui", "--no-slots", "--offline"]


def _sharing_cores(environment: dict[str, str]) -> dict[str, str]:
    """An operator's own OMP_WAIT_POLICY or GOMP_SPINCOUNT takes precedence: GOMP_SPINCOUNT would override the former."""
    has_own = environment.keys() & {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"}
    return environment if has_own else {**environment, "GOMP_SPINCOUNT": _SPIN_COUNT}

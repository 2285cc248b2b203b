"""llama.cpp's own server (`llama-server`): one GGUF file, several answers at once by continuous batching.

Owns finding it and starting it. It is a program that is built or installed apart from this project.
"""

import os
import shutil
from pathlib import Path

from fine_tune_assets.engines.addresses import socket_address
from fine_tune_assets.engines.running import (
    KEY,
    SHUTDOWN_SECONDS,
    EngineError,
    RunningEngine,
    engine_environment,
    launch,
    new_key,
    write_private,
)

PROGRAM = "llama-server"
_SPIN_COUNT = "300"
"""Its threads wait for each other some hundred times a token, spinning. By default so long that two of them on the same cores, as
during a switch, stand in each other's way: 87 tokens/s together, and at times next to none, where one alone gives 233. With
this 210, and as many alone (two cores, 8 streams each, SmolLM2-135M)."""


def find_llama_server(named: str) -> Path | None:
    """The executable that a setting names, else one on PATH; None if there is neither.

    Raises EngineError if the one that is named can't be run: falling back would serve one request at a time, unnoticed.
    """
    if not named:
        found = shutil.which(PROGRAM)
        return None if found is None else Path(found)
    path = Path(named).expanduser()
    if not path.is_file() or not os.access(path, os.X_OK):
        raise EngineError(f"FINE_TUNE_LLAMA_SERVER names {path}, which is no program. Repair or empty the setting.")
    return path.absolute()


def start_llama_server(
    program: Path,
    model: Path,
    alias: str,
    folder: Path,
    *,
    socket: Path,
    threads: int,
    parallel: int,
    context_tokens: int,
) -> RunningEngine:
    """Start it and return at once; it is not healthy yet. It outlives whoever starts it."""
    api_key = new_key()
    write_private(folder / KEY, api_key + "\n")
    return launch(
        llama_server_command(program, model, alias, folder / KEY, socket, threads, parallel, context_tokens),
        _sharing_cores(engine_environment(os.environ)),
        alias,
        socket_address(socket),
        api_key,
        folder,
        die_with_parent=False,
        program=PROGRAM,
        at_once=parallel,
        shutdown_seconds=SHUTDOWN_SECONDS,
        answers_while_busy=True,
        cuts_off=True,  # measured: streams stand still at SIGTERM, and break off after 30 seconds
    )


def _sharing_cores(environment: dict[str, str]) -> dict[str, str]:
    """An operator's own OMP_WAIT_POLICY or GOMP_SPINCOUNT stays: the second one would undo the first."""
    has_own = environment.keys() & {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"}
    return environment if has_own else {**environment, "GOMP_SPINCOUNT": _SPIN_COUNT}


def llama_server_command(
    program: Path, model: Path, alias: str, key: Path, socket: Path, threads: int, parallel: int, context_tokens: int
) -> list[str]:
    """`context_tokens` is of one answer: the server cuts what it is given into equal parts, one a slot."""
    options = {
        "model": model,
        "alias": alias,
        "host": socket,
        "api-key-file": key,
        "ctx-size": context_tokens * parallel,
        "parallel": parallel,
        "threads": threads or os.cpu_count() or 1,
        # Prompts of earlier callers, kept in memory: a gigabyte is enough for the system prompt that all share.
        "cache-ram": 1024,
    }
    named = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
    # Without these it would show pages, and tell whoever asks what each slot computes.
    return [str(program), *named, "--no-ui", "--no-slots", "--offline"]

"""The vLLM engine: an OpenAI-compatible server on loopback that serves one Hugging Face folder, for as long as it is asked.

Owns starting it from the environment that vLLM lives in (its pins clash with the trainer's). Watching and stopping it is as with
llama.cpp. It answers many requests together, which is what it is for. Its key is in its environment, never on the command line.
"""

import os
import secrets
from pathlib import Path

from fine_tune_assets.engines.llama_cpp import (
    HOST,
    LOG,
    PROCESS,
    EngineError,
    RunningEngine,
    engine_environment,
    free_port,
)
from fine_tune_assets.engines.processes import identify, start_process, write_identity

_CPU_CACHE_GIB = "2"
"""Keys and values that vLLM keeps on a machine without a GPU; by default it takes half of the memory."""


def start_vllm(python: Path, model: Path, alias: str, folder: Path, *, context_tokens: int) -> RunningEngine:
    """Start a server for `model` and return at once; it is not healthy yet. It ends with the thread that started it.

    Raises EngineError if there is no such environment.
    """
    if not python.is_file():
        raise EngineError(
            f"There is no vLLM to serve {model.name} with: {python} is missing. Install vLLM in an environment of its own and name its "
            "Python in FINE_TUNE_VLLM_PYTHON, or judge with a GGUF file, which needs none."
        )
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    port, api_key = free_port(), secrets.token_urlsafe(32)
    process = start_process(
        vllm_command(python, model, alias, port, context_tokens),
        cwd=folder,
        environment=_environment(api_key),
        log=folder / LOG,
        die_with_parent=True,
    )
    identity = identify(process.pid)
    if identity is None:
        raise EngineError(f"vLLM ended at once. See {folder / LOG}.")
    write_identity(folder / PROCESS, identity)
    return RunningEngine(alias, port, api_key, identity, folder, process)


def vllm_command(python: Path, model: Path, alias: str, port: int, context_tokens: int) -> list[str]:
    """Without compiling, which takes longer than a few hundred grades; a model's own code is never run."""
    options = {"model": model, "served-model-name": alias, "host": HOST, "port": port, "max-model-len": context_tokens}
    named = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
    return [str(python), "-m", "vllm.entrypoints.openai.api_server", *named, "--enforce-eager", "--disable-log-stats"]


def _environment(api_key: str) -> dict[str, str]:
    passed_on = engine_environment(os.environ)
    passed_on.pop("PYTHONPATH", None)  # it would bring this environment's packages into that one
    passed_on.pop("PYTHONHOME", None)
    # Where a progress bar is off, vLLM divides by its seconds; it prints into a log that nobody watches.
    passed_on.pop("TQDM_DISABLE", None)
    return {**passed_on, "VLLM_API_KEY": api_key, "VLLM_CPU_KVCACHE_SPACE": _CPU_CACHE_GIB}

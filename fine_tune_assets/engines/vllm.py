"""The vLLM engine: an OpenAI-compatible server on loopback that serves one Hugging Face folder, for as long as it is asked.

Owns starting it from the environment that vLLM lives in (its pins clash with the trainer's), with LoRA adapters under names of
their own. Watching and stopping it is as with llama.cpp. It answers many requests together, which is what it is for. Its key is
in its environment, never on the command line.
"""

import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""LoRA ranks that it makes room for."""


def start_vllm(
    python: Path,
    model: Path,
    alias: str,
    folder: Path,
    *,
    context_tokens: int,
    dtype: str = "auto",
    adapters: Mapping[str, Path] | None = None,
) -> RunningEngine:
    """Start a server for `model` and return at once; it is not healthy yet. It ends with the thread that started it.

    `context_tokens`: no more than the model was made for is taken. `dtype`: what it computes in; `auto` is what the folder says,
    as quantised weights need it.

    Raises EngineError if there is no such environment, or vLLM can't wear an adapter.
    """
    if not python.is_file():
        raise EngineError(
            f"There is no vLLM to serve {model.name} with: {python} is missing. Install vLLM in an environment of its own and "
            "name its Python in FINE_TUNE_VLLM_PYTHON, or do without: judge with a GGUF file, and judge.engine: transformers."
        )
    command = vllm_command(python, model, alias, context_of(model, context_tokens), dtype, adapters or {})
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    port, api_key = free_port(), secrets.token_urlsafe(32)
    process = start_process(
        [*command, "--port", str(port)],
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


def vllm_command(
    python: Path, model: Path, alias: str, context_tokens: int, dtype: str, adapters: Mapping[str, Path]
) -> list[str]:
    """Without compiling, which takes longer than a few hundred answers. A model's own code is never run."""
    options = {
        "model": model,
        "served-model-name": alias,
        "host": HOST,
        "max-model-len": context_tokens,
        "dtype": dtype,
    }
    named = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
    command = [
        str(python),
        "-m",
        "vllm.entrypoints.openai.api_server",
        *named,
        "--enforce-eager",
        "--disable-log-stats",
    ]
    if not adapters:
        return command
    rank = max(_rank(folder) for folder in adapters.values())
    room = next(size for size in _RANKS if size >= rank)
    worn = [f"{name}={folder}" for name, folder in adapters.items()]
    return [
        *command,
        "--enable-lora",
        "--max-lora-rank",
        str(room),
        "--max-loras",
        str(len(worn)),
        "--lora-modules",
        *worn,
    ]


def context_of(model: Path, wanted: int) -> int:
    """At most what the model was made for."""
    try:
        config: dict[str, Any] = json.loads((model / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return wanted
    return min(wanted, int(config.get("max_position_embeddings") or wanted))


def _rank(adapter: Path) -> int:
    config: dict[str, Any] = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    ranks = [int(config["r"]), *map(int, (config.get("rank_pattern") or {}).values())]
    if config.get("use_dora") or max(ranks) > _RANKS[-1]:
        raise EngineError(
            f"vLLM can't wear the adapter {adapter.name}: it knows LoRA up to rank {_RANKS[-1]}, and no DoRA. "
            "Set judge.engine: transformers."
        )
    return max(ranks)


def _environment(api_key: str) -> dict[str, str]:
    passed_on = engine_environment(os.environ)
    # PYTHONPATH and PYTHONHOME would bring this environment's packages into that one. Where a progress bar is off, vLLM divides
    # by its seconds; it prints into a log that nobody watches.
    left = {
        name: value for name, value in passed_on.items() if name not in ("PYTHONPATH", "PYTHONHOME", "TQDM_DISABLE")
    }
    return {**left, "VLLM_API_KEY": api_key, "VLLM_CPU_KVCACHE_SPACE": _CPU_CACHE_GIB}

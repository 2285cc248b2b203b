"""The vLLM engine: an OpenAI-compatible server that serves one Hugging Face folder, to users or for as long as judging takes.

Owns starting it from the environment that vLLM lives in (its pins clash with the trainer's), with LoRA adapters under names of
their own. Watching and stopping it is as with llama.cpp. It answers many requests together, which is what it is for. Its key is
in its environment, never on the command line.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from fine_tune_assets.core.settings import VllmSettings
from fine_tune_assets.engines.addresses import socket_address
from fine_tune_assets.engines.running_server import (
    HOST,
    SHUTDOWN_SECONDS,
    EngineError,
    RunningEngine,
    engine_environment,
    launch,
    loopback_url,
    new_key,
)

PROGRAM = "vLLM"
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
    socket: Path | None = None,
    serving: VllmSettings | None = None,
) -> RunningEngine:
    """Start a server for `model` and return at once; it is not healthy yet. With `serving` it outlives whoever starts it, else it
    ends with the thread that did.

    `context_tokens`: no more than the model was made for is taken. `dtype`: what it computes in; `auto` is what the folder says,
    as quantised weights need it. It listens on `socket`, or on a port of loopback if there is none.

    Raises EngineError if there is no such environment, or vLLM can't wear an adapter.
    """
    if not python.is_file():
        raise EngineError(
            f"There is no vLLM to serve {model.name} with: {python} is missing. `make setup-vllm` installs it; or name the "
            "Python of its environment in FINE_TUNE_VLLM_PYTHON, or do without: engine: llama_cpp, a GGUF file as judge, and "
            "judge.engine: transformers."
        )
    command = vllm_command(python, model, alias, context_of(model, context_tokens), dtype, adapters or {}, serving)
    api_key = new_key()
    url = loopback_url() if socket is None else socket_address(socket)
    place = ["--host", HOST, "--port", str(httpx.URL(url).port)] if socket is None else ["--uds", str(socket)]
    return launch(
        [*command, *place],
        _environment(api_key, (serving or VllmSettings()).cache_gb),  # by itself it takes half of the memory
        alias,
        url,
        api_key,
        folder,
        die_with_parent=serving is None,
        program=PROGRAM,
        at_once=0,
        shutdown_seconds=SHUTDOWN_SECONDS if serving is not None else 0,
    )


def vllm_command(
    python: Path,
    model: Path,
    alias: str,
    context_tokens: int,
    dtype: str,
    adapters: Mapping[str, Path],
    serving: VllmSettings | None = None,
) -> list[str]:
    """Where it listens is added by whoever starts it. A model's own code is never run."""
    options = {"model": model, "served-model-name": alias, "max-model-len": context_tokens, "dtype": dtype}
    options["generation-config"] = "vllm"  # no penalty and no temperature but what is asked for, as in judging
    named = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
    # Nothing of a request goes into the log, and no statistics.
    quiet = ["--disable-log-stats", "--no-enable-log-requests"]
    command = [str(python), "-m", "vllm.entrypoints.openai.api_server", *named, *quiet]
    if serving is not None:
        return [*command, *_serving_options(serving, has_gpu())]
    # Without compiling, which takes longer than a few hundred answers.
    return [*command, "--enforce-eager", *_adapter_options(adapters)]


def _serving_options(serving: VllmSettings, is_on_gpu: bool) -> list[str]:
    """PagedAttention and continuous batching are always on; LoRA adapters are not: a release is one set of weights."""
    options: dict[str, Any] = {
        "shutdown-timeout": SHUTDOWN_SECONDS,  # its own default strands answers (measured: 4 of 4)
        "tensor-parallel-size": serving.tensor_parallel,
        "pipeline-parallel-size": serving.pipeline_parallel,
    }
    # A call of a tool by name is refused without a parser, which is read only if `auto` is on (measured, 0.32). This one leaves
    # the form to the grammar that vLLM makes of the tool's schema; those for single models take their own way of writing calls
    # for it, which no other model knows.
    options["tool-call-parser"] = "xlam"
    # Else a grammar allows any space between two words of an answer, and a small model may go on with it to the end.
    options["structured-outputs-config"] = json.dumps({"backend": "xgrammar", "disable_any_whitespace": True})
    if is_on_gpu:
        options["gpu-memory-utilization"] = serving.gpu_memory_percent / 100
    if serving.speculative_tokens:
        words = {"prompt_lookup_min": 2, "prompt_lookup_max": 4}
        guessing = {"method": "ngram", "num_speculative_tokens": serving.speculative_tokens, **words}
        options["speculative-config"] = json.dumps(guessing)
    named = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
    # Compiling for a CPU takes minutes and gains little there; on a GPU it is what makes it fast.
    return [*named, "--enable-auto-tool-choice", "--enable-prefix-caching", *([] if is_on_gpu else ["--enforce-eager"])]


def has_gpu() -> bool:
    """Whether this machine has an NVIDIA GPU with its driver. Asked without torch, which takes seconds to load."""
    return any(Path("/dev").glob("nvidia[0-9]*"))


def _adapter_options(adapters: Mapping[str, Path]) -> list[str]:
    if not adapters:
        return []
    rank = max(_rank(folder) for folder in adapters.values())
    room = next(size for size in _RANKS if size >= rank)
    worn = [f"{name}={folder}" for name, folder in adapters.items()]
    return ["--enable-lora", "--max-lora-rank", str(room), "--max-loras", str(len(worn)), "--lora-modules", *worn]


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


def _environment(api_key: str, cache_gib: int) -> dict[str, str]:
    passed_on = engine_environment(os.environ)
    # PYTHONPATH and PYTHONHOME would bring this environment's packages into that one. Where a progress bar is off, vLLM divides
    # by its seconds; it prints into a log that nobody watches.
    left = {
        name: value for name, value in passed_on.items() if name not in ("PYTHONPATH", "PYTHONHOME", "TQDM_DISABLE")
    }
    return {**left, "VLLM_API_KEY": api_key, "VLLM_CPU_KVCACHE_SPACE": str(cache_gib)}

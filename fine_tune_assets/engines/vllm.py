"""Serves one Hugging Face folder with vLLM, to users or during judging.

vLLM runs from its own environment, because its pins conflict with the trainer's. LoRA adapters are served under their own
names; in a process that `shared_vllm` starts, they come and go. The API key is passed in the environment, never on the command
line.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from fine_tune_assets.core.serving_engines import RESERVED_SLOTS
from fine_tune_assets.core.settings import VllmSettings
from fine_tune_assets.engines.listen_addresses import MAX_PATH_BYTES, socket_address
from fine_tune_assets.engines.running_server import (
    HOST,
    SHUTDOWN_SECONDS,
    EngineError,
    RunningEngine,
    engine_environment,
    launch_engine,
    loopback_url,
    new_api_key,
)

PROGRAM = "vLLM"
_SOCKET_NAME_BYTES = 37
"""Of a UUID, which vLLM names its sockets by, and a slash."""
_LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""The LoRA ranks that vLLM supports as a maximum."""


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
    is_shared: bool = False,
    chat_template: Path | None = None,
) -> RunningEngine:
    """Start a server for `model` and return at once; it is not healthy yet. With `serving`, it outlives its parent; otherwise it
    ends with the thread that started it. With `is_shared`, adapters can be loaded later.

    `context_tokens` is limited to the model's context. `dtype` is the number format of the computation; `auto` follows the
    model's configuration, as quantized weights require. Without `socket`, it listens on a loopback port. `chat_template`
    replaces the model's own.

    Raises EngineError if the environment is missing, or vLLM cannot load an adapter.
    """
    require_vllm(python, model.name)
    command = vllm_command(python, model, alias, limit_context(model, context_tokens), dtype, adapters or {}, serving)
    if chat_template is not None:
        command += ["--chat-template", str(chat_template)]
    environment = {}
    if serving is not None and is_shared:
        command += _shared_options(serving)
        environment["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "True"
    api_key = new_api_key()
    url = loopback_url() if socket is None else socket_address(socket)
    listen = ["--host", HOST, "--port", str(httpx.URL(url).port)] if socket is None else ["--uds", str(socket)]
    return launch_engine(
        [*command, *listen],
        # vLLM's default cache is half of the memory.
        _environment(api_key, (serving or VllmSettings()).kv_cache_gb) | environment | _internal_sockets(folder),
        alias,
        url,
        api_key,
        folder,
        die_with_parent=serving is None,
        program=PROGRAM,
        max_concurrency=0,
        shutdown_seconds=SHUTDOWN_SECONDS if serving is not None else 0,
    )


def require_vllm(python: Path, model: str) -> None:
    """Raises EngineError if the environment is missing."""
    if not python.is_file():
        raise EngineError(
            f"vLLM cannot serve {model}: {python} does not exist. Run `make setup-vllm`, or set FINE_TUNE_VLLM_PYTHON to "
            "the Python of vLLM's environment. Without vLLM, set engine: llama_cpp, use a GGUF file as judge, and set "
            "judge.engine: transformers."
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
    """Without the listen address, which the caller adds. The model's own code is never run."""
    options = {"model": model, "served-model-name": alias, "max-model-len": context_tokens, "dtype": dtype}
    options["generation-config"] = "vllm"  # ignores the model's default temperature and penalties, as in judging
    arguments = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
    # No request content in the log, and no statistics.
    quiet = ["--disable-log-stats", "--no-enable-log-requests"]
    command = [str(python), "-m", "vllm.entrypoints.openai.api_server", *arguments, *quiet]
    if serving is not None:
        return [*command, *_serving_options(serving, has_gpu())]
    # Eager mode: compiling takes longer than a few hundred answers.
    return [*command, "--enforce-eager", *_adapter_options(adapters)]


def _serving_options(serving: VllmSettings, is_on_gpu: bool) -> list[str]:
    """PagedAttention and continuous batching are always on."""
    options: dict[str, Any] = {
        "shutdown-timeout": SHUTDOWN_SECONDS,  # the default aborts running answers (measured: 4 of 4)
        "tensor-parallel-size": serving.tensor_parallel,
        "pipeline-parallel-size": serving.pipeline_parallel,
        "max-num-seqs": serving.parallel + RESERVED_SLOTS,
    }
    # vLLM refuses a named tool call without a parser, and reads the parser only with `auto` tool choice (measured, 0.32). This
    # parser relies on the grammar that vLLM builds from the tool's schema; parsers for single models expect a model-specific
    # format.
    options["tool-call-parser"] = "xlam"
    # Otherwise the grammar allows unlimited whitespace, and a small model may generate it until the limit.
    options["structured-outputs-config"] = json.dumps({"backend": "xgrammar", "disable_any_whitespace": True})
    if is_on_gpu:
        options["gpu-memory-utilization"] = serving.gpu_memory_percent / 100
    if serving.speculative_tokens:
        window = {"prompt_lookup_min": 2, "prompt_lookup_max": 4}
        speculation = {"method": "ngram", "num_speculative_tokens": serving.speculative_tokens, **window}
        options["speculative-config"] = json.dumps(speculation)
    arguments = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
    # On a CPU, compiling takes minutes and gains little; on a GPU it gives most of the speed.
    return [
        *arguments,
        "--enable-auto-tool-choice",
        "--enable-prefix-caching",
        *([] if is_on_gpu else ["--enforce-eager"]),
    ]


def _shared_options(serving: VllmSettings) -> list[str]:
    """vLLM reserves memory for all adapters at its start; it keeps further ones in CPU memory and swaps them in."""
    options = {
        "max-loras": serving.max_adapters,
        "max-cpu-loras": 2 * serving.max_adapters,
        "max-lora-rank": _allowed_rank(serving.max_lora_rank),
    }
    return ["--enable-lora", *(str(word) for name, value in options.items() for word in (f"--{name}", value))]


def _allowed_rank(rank: int) -> int:
    return next((size for size in _LORA_RANKS if size >= rank), _LORA_RANKS[-1])


def require_loadable_adapter(adapter: Path, max_rank: int) -> None:
    """Raises EngineError if vLLM, started for adapters up to `max_rank`, cannot load this one."""
    rank = _lora_rank(adapter)
    if rank > _allowed_rank(max_rank):
        raise EngineError(
            f"The adapter has rank {rank}, and vLLM is started for adapters up to rank {_allowed_rank(max_rank)}. Set "
            f"FINE_TUNE_VLLM_MAX_LORA_RANK={rank}, and run `fine-tune down` and `fine-tune up`."
        )


def has_gpu() -> bool:
    """Whether this machine has an NVIDIA GPU with its driver. Avoids importing torch, which takes seconds."""
    return any(Path("/dev").glob("nvidia[0-9]*"))


def _adapter_options(adapters: Mapping[str, Path]) -> list[str]:
    if not adapters:
        return []
    rank = max(_lora_rank(folder) for folder in adapters.values())
    modules = [f"{name}={folder}" for name, folder in adapters.items()]
    return [
        "--enable-lora",
        "--max-lora-rank",
        str(_allowed_rank(rank)),
        "--max-loras",
        str(len(modules)),
        "--lora-modules",
        *modules,
    ]


def limit_context(model: Path, context_tokens: int) -> int:
    """`context_tokens`, or the model's context if that is less."""
    try:
        config: dict[str, Any] = json.loads((model / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return context_tokens
    return min(context_tokens, int(config.get("max_position_embeddings") or context_tokens))


def _lora_rank(adapter: Path) -> int:
    config: dict[str, Any] = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    ranks = [int(config["r"]), *map(int, (config.get("rank_pattern") or {}).values())]
    if config.get("use_dora") or max(ranks) > _LORA_RANKS[-1]:
        raise EngineError(
            f"vLLM cannot load the adapter {adapter.name}: it supports LoRA up to rank {_LORA_RANKS[-1]}, without DoRA. "
            "Set judge.engine: transformers, and let vLLM serve merged weights."
        )
    return max(ranks)


def _internal_sockets(folder: Path) -> dict[str, str]:
    """Where vLLM's processes connect to each other: in the run folder instead of `/tmp`, if its path is short enough, and on
    loopback instead of the host's address. vLLM leaves the sockets behind."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.is_socket():
            path.unlink()
    is_short = len(os.fsencode(folder)) + _SOCKET_NAME_BYTES <= MAX_PATH_BYTES
    return {"VLLM_HOST_IP": HOST} | ({"VLLM_RPC_BASE_PATH": str(folder)} if is_short else {})


def _environment(api_key: str, cache_gib: int) -> dict[str, str]:
    inherited = engine_environment(os.environ)
    # PYTHONPATH and PYTHONHOME would add this environment's packages to vLLM's. With TQDM_DISABLE, vLLM divides by a progress
    # bar's zero seconds; its progress bars go to the log.
    kept = {
        name: value for name, value in inherited.items() if name not in ("PYTHONPATH", "PYTHONHOME", "TQDM_DISABLE")
    }
    return {**kept, "VLLM_API_KEY": api_key, "VLLM_CPU_KVCACHE_SPACE": str(cache_gib)}

"""Starts the engine of a release if it fits into the available memory. `_LAUNCHERS` is the registry of engines.

Memory is an estimate; vLLM itself checks GPU memory before it loads. An engine listens on a Unix socket in a folder that only
this user can open, because engines leave some routes unauthenticated. It outlives the supervisor, which adopts it at restart.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fine_tune_assets.core.errors import ChangedFolderError
from fine_tune_assets.core.processes.memory import available_bytes
from fine_tune_assets.core.releases.release_folders import ReleaseFolder
from fine_tune_assets.core.serving_engines import llama_cpp_slots
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.engines import llama_cpp, vllm
from fine_tune_assets.engines.adapter_server import start_adapter_server
from fine_tune_assets.engines.bundled_model import find_base_gguf
from fine_tune_assets.engines.gguf_header import kv_cache_bytes_per_token, read_gguf_header
from fine_tune_assets.engines.listen_addresses import SOCKETS_FOLDER, AddressError, new_socket_path
from fine_tune_assets.engines.llama_cpp import GgufFiles, find_llama_server, start_llama_cpp
from fine_tune_assets.engines.running_server import EngineError, RunningEngine, adopt_engine, recorded_program
from fine_tune_assets.engines.vllm import has_gpu, start_vllm
from fine_tune_assets.serving.adapter_releases import find_base_folder, find_shared_engine, is_adapter

GIB = 2**30
LLAMA_OVERHEAD_BYTES = int(0.5 * GIB)
"""Program and compute buffers, which grow with the model. Measured with the bundled model: 0.11 GiB in addition to its weights
and a KV cache of 2,048 tokens."""
VLLM_OVERHEAD_BYTES = int(2.5 * GIB)
"""Three processes with torch. Measured on a CPU with a 135M model: 2.5 GiB in addition to weights and KV cache, with shared pages
counted in each process."""
ADAPTER_SERVER_BYTES = int(0.1 * GIB)
"""A process that passes requests on to a vLLM process which is running already."""
_DEFAULT_CACHE_BYTES = 131_072
"""KV cache per token if the GGUF header lacks the dimensions: the value of Llama 3 8B."""


def find_gguf_files(release: ReleaseFolder) -> GgufFiles:
    """Raises EngineError if the release is an adapter whose base GGUF is not installed or has changed."""
    if not release.base_gguf:
        return GgufFiles(release.model)
    try:
        base = find_base_gguf(release.base_gguf)
    except ChangedFolderError as error:
        raise EngineError(str(error)) from error
    if base is None:
        raise EngineError(
            f"Release {release.release_id} is an adapter on the base model {release.base_gguf[:12]}, which is not installed. "
            "Run `make setup`, or build the release with an export that contains the whole model."
        )
    return GgufFiles(base, release.model)


def find_base(release: ReleaseFolder, settings: Settings) -> Path | None:
    """The GGUF file or folder of the base model that the release's adapter is loaded on; None without one.

    It lies outside the release's folder, and its content has been compared with the release's manifest. Raises EngineError.
    """
    if is_adapter(release):
        return find_base_folder(release, settings)
    return find_gguf_files(release).model if release.base_gguf else None


@dataclass(frozen=True)
class MemoryEstimate:
    weights_bytes: int
    cache_bytes: int
    overhead_bytes: int

    @property
    def total_bytes(self) -> int:
        return self.weights_bytes + self.cache_bytes + self.overhead_bytes


def explain_shortfall(estimate: MemoryEstimate, available_bytes: int, reserve_bytes: int) -> str | None:
    """Why the engine does not fit; None if it fits."""
    if estimate.total_bytes <= available_bytes - reserve_bytes:
        return None
    return (
        f"The engine does not fit: it needs about {estimate.total_bytes / GIB:.1f} GiB "
        f"(weights {estimate.weights_bytes / GIB:.1f}, KV cache {estimate.cache_bytes / GIB:.1f}, "
        f"program {estimate.overhead_bytes / GIB:.1f}), but {available_bytes / GIB:.1f} GiB are available, of which "
        f"{reserve_bytes / GIB:g} are reserved (FINE_TUNE_ENGINE_MEMORY_RESERVE_GB). Stop other programs, or use a smaller "
        "export or context."
    )


def estimate_memory(release: ReleaseFolder, settings: Settings, parallel: int) -> MemoryEstimate:
    """`parallel`: number of concurrent requests. Raises EngineError for an unknown engine."""
    return _find_launcher(release.engine).estimate(release, settings, parallel)


def _estimate_vllm(release: ReleaseFolder, settings: Settings, _parallel: int) -> MemoryEstimate:
    weights = release.model
    if is_adapter(release):
        shared = find_shared_engine(release, settings)
        if adopt_engine(shared.folder) is not None:
            return MemoryEstimate(_file_bytes(release.model), 0, ADAPTER_SERVER_BYTES)
        weights = shared.base
    if has_gpu():
        return MemoryEstimate(0, 0, VLLM_OVERHEAD_BYTES)
    return MemoryEstimate(_file_bytes(weights), settings.vllm.kv_cache_gb * GIB, VLLM_OVERHEAD_BYTES)


def _estimate_llama_cpp(release: ReleaseFolder, settings: Settings, parallel: int) -> MemoryEstimate:
    tokens = settings.engine.context_tokens * parallel
    files = find_gguf_files(release)
    per_token = kv_cache_bytes_per_token(read_gguf_header(files.model)) or _DEFAULT_CACHE_BYTES
    weights = _file_bytes(files.model) + (0 if files.adapter is None else _file_bytes(files.adapter))
    return MemoryEstimate(weights, per_token * tokens, LLAMA_OVERHEAD_BYTES)


def _file_bytes(model: Path) -> int:
    files = model.rglob("*") if model.is_dir() else [model]
    return sum(path.stat().st_size for path in files if path.is_file())


@dataclass(frozen=True)
class EngineProgram:
    name: str
    parallel_requests: int
    """Concurrent requests; 0 for as many as fit."""

    @property
    def description(self) -> str:
        if self.parallel_requests == 1:
            return f"{self.name} answers one request at a time; others are queued"
        requests = f"{self.parallel_requests} requests" if self.parallel_requests else "as many requests as fit"
        return f"{self.name} answers {requests} at once; others are queued"


def configured_program(engine: str, settings: Settings) -> EngineProgram:
    """The program that would be started now. Raises EngineError if a setting names a missing program."""
    return _find_launcher(engine).program(settings)


def _vllm_program(_settings: Settings) -> EngineProgram:
    return EngineProgram(vllm.PROGRAM, 0)


def _llama_cpp_program(settings: Settings) -> EngineProgram:
    is_bundled = find_llama_server(settings.llama.server) is None
    return EngineProgram(llama_cpp.BUNDLED_PROGRAM if is_bundled else llama_cpp.PROGRAM, llama_cpp_slots(settings))


def running_program(engine_folder: Path, engine: str, settings: Settings) -> EngineProgram:
    """The program recorded in `engine_folder`, which can differ from this process's settings; else the configured one.

    Raises EngineError as `configured_program`."""
    running = recorded_program(engine_folder)
    return EngineProgram(*running) if running is not None else configured_program(engine, settings)


def require_memory(release: ReleaseFolder, settings: Settings) -> None:
    """Raise EngineError if memory is too short: the kernel would kill a process, perhaps the live engine."""
    program = configured_program(release.engine, settings)
    estimate = estimate_memory(release, settings, program.parallel_requests or 1)
    shortfall = explain_shortfall(estimate, available_bytes(), settings.engine.memory_reserve_gb * GIB)
    if shortfall is not None:
        raise EngineError(shortfall)


def start_engine(release: ReleaseFolder, folder: Path, settings: Settings) -> RunningEngine:
    """Raises EngineError."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        socket = new_socket_path(settings.layout.run / SOCKETS_FOLDER)
    except AddressError as error:
        raise EngineError(str(error)) from error
    return _find_launcher(release.engine).start(release, folder, settings, socket)


def _start_vllm(release: ReleaseFolder, folder: Path, settings: Settings, socket: Path) -> RunningEngine:
    if is_adapter(release):
        shared = find_shared_engine(release, settings)
        return start_adapter_server(shared, release.model, release.release_id, folder, socket)
    return start_vllm(
        settings.vllm_interpreter,
        release.model,
        release.release_id,
        folder,
        context_tokens=settings.engine.context_tokens,
        socket=socket,
        serving=settings.vllm,
    )


def _start_llama_cpp(release: ReleaseFolder, folder: Path, settings: Settings, socket: Path) -> RunningEngine:
    program = find_llama_server(settings.llama.server)
    files = find_gguf_files(release)
    return start_llama_cpp(
        files.model,
        release.release_id,
        folder,
        threads=settings.threads,
        die_with_parent=False,
        parallel=llama_cpp_slots(settings),
        context_tokens=settings.engine.context_tokens,
        adapter=files.adapter,
        gpu_layers=llama_cpp.ALL_LAYERS if program is not None else 0,
        batch_tokens=settings.llama.batch_tokens,
        shares_weights=settings.llama.shared_weights,
        socket=socket,
        program=program,
    )


@dataclass(frozen=True)
class _Launcher:
    program: Callable[[Settings], EngineProgram]
    estimate: Callable[[ReleaseFolder, Settings, int], MemoryEstimate]
    start: Callable[[ReleaseFolder, Path, Settings, Path], RunningEngine]
    """Arguments: release, folder, settings, socket."""


_LAUNCHERS: Mapping[str, _Launcher] = {
    "llama_cpp": _Launcher(_llama_cpp_program, _estimate_llama_cpp, _start_llama_cpp),
    "vllm": _Launcher(_vllm_program, _estimate_vllm, _start_vllm),
}


def _find_launcher(engine: str) -> _Launcher:
    """Raises EngineError for an unknown engine."""
    if engine not in _LAUNCHERS:
        raise EngineError(
            f"Unknown engine {engine}. Known: {', '.join(_LAUNCHERS)}. Update this installation, or build the release again."
        )
    return _LAUNCHERS[engine]

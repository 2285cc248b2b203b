"""Starts the engine that a release names, as the settings say, if it fits into the memory that is left. The engines' one
registry.

The memory is an estimate; what vLLM takes of a GPU it refuses itself before it loads. A served engine listens on a Unix socket in
a folder of this user: no other user of the machine, and no other machine, reaches it, whatever routes it leaves open. It outlives
the supervisor, which finds it again.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fine_tune_assets.core.processes.memory import available_bytes
from fine_tune_assets.core.releases.release_folders import ReleaseFolder
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.engines import llama_cpp, vllm
from fine_tune_assets.engines.addresses import AddressError, new_socket
from fine_tune_assets.engines.bundled_model import find_base_gguf
from fine_tune_assets.engines.gguf_header import cache_bytes_per_token, read_gguf_header
from fine_tune_assets.engines.llama_cpp import GgufFiles, find_llama_server, start_llama_cpp
from fine_tune_assets.engines.running_server import EngineError, RunningEngine, recorded_program
from fine_tune_assets.engines.vllm import has_gpu, start_vllm

GIB = 2**30
LLAMA_PROGRAM_BYTES = int(0.5 * GIB)
"""Program and buffers for computing, which grow with the model. Measured with the bundled one: .11 GiB beside its weights and the
keys and values of 2,048 tokens."""
VLLM_PROGRAM_BYTES = int(2.5 * GIB)
"""Three processes with torch. Measured on a CPU with a 135M model: 2.5 GiB beside its weights and its cache, shared pages counted
in each."""
_UNKNOWN_CACHE_BYTES = 131_072
"""Of one token, where the file does not say: what Llama 3 8B takes."""


def gguf_files_of(release: ReleaseFolder) -> GgufFiles:
    """Raises EngineError if the base GGUF that the release's adapter belongs to is not installed."""
    if not release.base_gguf:
        return GgufFiles(release.model)
    base = find_base_gguf(release.base_gguf)
    if base is None:
        raise EngineError(
            f"Release {release.release_id} is an adapter on the base model {release.base_gguf[:12]}, which is not installed "
            "here. Run `make setup`, or build the release with an export that holds the whole model."
        )
    return GgufFiles(base, release.model)


@dataclass(frozen=True)
class Need:
    weights_bytes: int
    cache_bytes: int
    program_bytes: int

    @property
    def total_bytes(self) -> int:
        return self.weights_bytes + self.cache_bytes + self.program_bytes


def refusal(need: Need, available_bytes: int, reserve_bytes: int) -> str | None:
    """Why it is not started; None if it fits."""
    if need.total_bytes <= available_bytes - reserve_bytes:
        return None
    return (
        f"It does not fit: it takes about {need.total_bytes / GIB:.1f} GiB (weights {need.weights_bytes / GIB:.1f}, keys and "
        f"values {need.cache_bytes / GIB:.1f}, program {need.program_bytes / GIB:.1f}), and {available_bytes / GIB:.1f} GiB are "
        f"available, of which {reserve_bytes / GIB:g} stay free (FINE_TUNE_ENGINE_MEMORY_RESERVE_GB). Stop something, or serve a "
        "smaller export or context."
    )


def need_of(release: ReleaseFolder, settings: Settings, parallel: int) -> Need:
    """For so many answers at once. Raises EngineError for an engine that this version does not know."""
    return _starter(release.engine).need(release, settings, parallel)


def _need_of_vllm(release: ReleaseFolder, settings: Settings, _parallel: int) -> Need:
    if has_gpu():
        return Need(0, 0, VLLM_PROGRAM_BYTES)
    return Need(_size(release.model), settings.vllm.cache_gb * GIB, VLLM_PROGRAM_BYTES)


def _need_of_llama_cpp(release: ReleaseFolder, settings: Settings, parallel: int) -> Need:
    tokens = settings.engine.context_tokens * parallel
    files = gguf_files_of(release)
    per_token = cache_bytes_per_token(read_gguf_header(files.model)) or _UNKNOWN_CACHE_BYTES
    weights = _size(files.model) + (0 if files.adapter is None else _size(files.adapter))
    return Need(weights, per_token * tokens, LLAMA_PROGRAM_BYTES)


def _size(model: Path) -> int:
    files = model.rglob("*") if model.is_dir() else [model]
    return sum(path.stat().st_size for path in files if path.is_file())


SOCKETS = "sockets"


@dataclass(frozen=True)
class Program:
    """Which program serves, in words, and how many answers it gives at once (0: as many as fit)."""

    name: str
    at_once: int

    @property
    def in_words(self) -> str:
        if self.at_once == 1:
            return f"{self.name} answers one request at a time; others wait in line"
        many = f"{self.at_once} requests" if self.at_once else "as many requests as fit"
        return f"{self.name} answers {many} at once; others wait in line"


def program_of(engine: str, settings: Settings) -> Program:
    """What would be started now. Raises EngineError if a setting names a program that is none."""
    return _starter(engine).program(settings)


def _program_of_vllm(_settings: Settings) -> Program:
    return Program(vllm.PROGRAM, 0)


def _program_of_llama_cpp(settings: Settings) -> Program:
    is_bundled = find_llama_server(settings.llama.server) is None
    return Program(llama_cpp.BUNDLED if is_bundled else llama_cpp.PROGRAM, settings.llama.parallel)


def program_serving(engine_folder: Path, engine: str, settings: Settings) -> Program:
    """What was started in `engine_folder`, whatever the settings of whoever asks say; where nothing runs, what would be.
    Raises EngineError as `program_of`."""
    running = recorded_program(engine_folder)
    return Program(*running) if running is not None else program_of(engine, settings)


def require_room(release: ReleaseFolder, settings: Settings) -> None:
    """Raise EngineError if it would take memory that is not there: the kernel would end some process, perhaps the live one."""
    program = program_of(release.engine, settings)
    need = need_of(release, settings, program.at_once or 1)
    why = refusal(need, available_bytes(), settings.engine.memory_reserve_gb * GIB)
    if why is not None:
        raise EngineError(why)


def start_for(release: ReleaseFolder, folder: Path, settings: Settings) -> RunningEngine:
    """Raises EngineError."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        socket = new_socket(settings.layout.run / SOCKETS)
    except AddressError as error:
        raise EngineError(str(error)) from error
    return _starter(release.engine).start(release, folder, settings, socket)


def _start_vllm(release: ReleaseFolder, folder: Path, settings: Settings, socket: Path) -> RunningEngine:
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
    files = gguf_files_of(release)
    return start_llama_cpp(
        files.model,
        release.release_id,
        folder,
        threads=settings.threads,
        die_with_parent=False,
        parallel=settings.llama.parallel,
        context_tokens=settings.engine.context_tokens,
        adapter=files.adapter,
        gpu_layers=llama_cpp.ALL_LAYERS if program is not None else 0,
        socket=socket,
        program=program,
    )


@dataclass(frozen=True)
class _Starter:
    program: Callable[[Settings], Program]
    need: Callable[[ReleaseFolder, Settings, int], Need]
    start: Callable[[ReleaseFolder, Path, Settings, Path], RunningEngine]
    """In a folder, on a socket."""


_STARTERS: Mapping[str, _Starter] = {
    "llama_cpp": _Starter(_program_of_llama_cpp, _need_of_llama_cpp, _start_llama_cpp),
    "vllm": _Starter(_program_of_vllm, _need_of_vllm, _start_vllm),
}


def _starter(engine: str) -> _Starter:
    """Raises EngineError for an engine that this version does not know."""
    if engine not in _STARTERS:
        raise EngineError(f"No engine is called {engine}. Update this installation, or build the release again.")
    return _STARTERS[engine]

"""Starts the engine that a release names, as the settings say. The one place that knows which engines there are.

A served engine listens on a Unix socket in a folder of this user: no other user of the machine, and no other machine, reaches it,
whatever routes it leaves open. It outlives the supervisor, which finds it again.
"""

from dataclasses import dataclass
from pathlib import Path

from fine_tune_assets.core.memory import available_bytes
from fine_tune_assets.core.releases import ReleaseFolder
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.engines import llama_cpp, vllm
from fine_tune_assets.engines.addresses import AddressError, new_socket
from fine_tune_assets.engines.llama_cpp import find_llama_server, start_llama_cpp
from fine_tune_assets.engines.running import EngineError, RunningEngine, recorded_program
from fine_tune_assets.engines.vllm import start_vllm
from fine_tune_assets.serving.fitting import GIB, gguf_files_of, need_of, refusal

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
    if engine == "vllm":
        return Program(vllm.PROGRAM, 0)
    if engine != "llama_cpp":
        raise EngineError(f"No engine is called {engine}. Update this installation, or build the release again.")
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
    why = refusal(
        need_of(release, settings, program.at_once or 1), available_bytes(), settings.engine.memory_reserve_gb * GIB
    )
    if why is not None:
        raise EngineError(why)


def start_for(release: ReleaseFolder, folder: Path, settings: Settings) -> RunningEngine:
    """Raises EngineError."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        socket = new_socket(settings.layout.run / SOCKETS)
    except AddressError as error:
        raise EngineError(str(error)) from error
    name, tokens = release.release_id, settings.engine.context_tokens
    if release.engine == "vllm":
        python, serving = settings.vllm_interpreter, settings.vllm
        return start_vllm(python, release.model, name, folder, context_tokens=tokens, socket=socket, serving=serving)
    program = find_llama_server(settings.llama.server)
    files = gguf_files_of(release)
    return start_llama_cpp(
        files.model,
        name,
        folder,
        threads=settings.threads,
        die_with_parent=False,
        parallel=settings.llama.parallel,
        context_tokens=tokens,
        adapter=files.adapter,
        gpu_layers=llama_cpp.ALL_LAYERS if program is not None else 0,
        socket=socket,
        program=program,
    )

"""Starts, checks, queries and stops an engine's server, and adopts it after a restart of this process.

Contains what all engines share; each engine has a module that starts it. An engine's key is in a private file, never on a
command line.
"""

import json
import secrets
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.files import atomic_write
from fine_tune_assets.core.processes.offline import OFFLINE_ENVIRONMENT
from fine_tune_assets.engines.listen_addresses import count_connections, open_client, socket_path
from fine_tune_assets.engines.processes import (
    ProcessIdentity,
    identify,
    is_alive,
    read_identity,
    start_process,
    stop_process,
    write_identity,
)

PLAIN_SAMPLING = {"repeat_penalty": 1.0}
"""Sent with every request to a served model: no repetition penalty, as in judging, regardless of the engine's default."""
CONTEXT_TOKENS = 2048
"""Tokens of prompt and answer together. Memory grows in proportion."""
HOST = "127.0.0.1"
SHUTDOWN_SECONDS = 60
"""Time that an engine serving users has at SIGTERM to finish its answers."""
RECORD_FILE, CONFIG_FILE, KEY_FILE, PROCESS_FILE, LOG_FILE = (
    "engine.json",
    "server.json",
    "key",
    "process.json",
    "engine.log",
)
_POLL_SECONDS = 0.1
_ALLOWED_VARIABLES = ("PATH", "HOME", "LANG", "LANGUAGE", "TMPDIR", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME")
_ALLOWED_PREFIXES = ("LC_", "OMP_", "GOMP_", "OPENBLAS_", "CUDA_")


class EngineError(FineTuneError):
    """The engine did not start, died, or does not answer."""


@dataclass(frozen=True)
class RunningEngine:
    alias: str
    url: str
    """`unix:/path/of.sock`, or `http://127.0.0.1:PORT/v1`."""
    api_key: str
    identity: ProcessIdentity
    folder: Path
    """Contains its config file, pid file and log."""
    process: subprocess.Popen[bytes] | None
    """None if another process started it."""
    shutdown_seconds: float = 0.0
    """Configured time to finish answers at SIGTERM."""
    is_drained_first: bool = False
    """Whether SIGTERM breaks running answers; if so, it is sent only after the last connection has closed."""
    program: str = ""
    """Display name of the server program."""
    max_concurrency: int = 0
    """Answers generated at once; 0: as many as fit."""
    shared_folder: str = ""
    """Run folder of the process that computes the answers; empty: this one."""

    @property
    def computing_process(self) -> ProcessIdentity:
        shared = read_identity(Path(self.shared_folder) / PROCESS_FILE) if self.shared_folder else None
        return shared or self.identity

    @property
    def log(self) -> Path:
        return self.folder / LOG_FILE

    @property
    def is_alive(self) -> bool:
        if self.process is not None:
            self.process.poll()  # reaps a zombie
        return is_alive(self.identity)


def launch_engine(
    command: Sequence[str],
    environment: Mapping[str, str],
    alias: str,
    url: str,
    api_key: str,
    folder: Path,
    die_with_parent: bool,
    *,
    program: str = "",
    max_concurrency: int = 0,
    shutdown_seconds: float = 0.0,
    is_drained_first: bool = False,
    shared_folder: str = "",
) -> RunningEngine:
    """Start a server and record how to find it again. It is not healthy yet."""
    _remove_socket(folder)  # left by an engine that died
    record: dict[str, Any] = {
        "alias": alias,
        "url": url,
        "api_key": api_key,
        "shutdown_seconds": shutdown_seconds,
        "is_drained_first": is_drained_first,
        "program": program,
        "max_concurrency": max_concurrency,
        "shared_folder": shared_folder,
    }
    write_private_file(folder / RECORD_FILE, json.dumps(record))
    process = start_process(
        command, cwd=folder, environment=environment, log=folder / LOG_FILE, die_with_parent=die_with_parent
    )
    identity = identify(process.pid)
    if identity is None:
        raise EngineError(f"The engine for {alias} exited immediately. See {folder / LOG_FILE}.")
    write_identity(folder / PROCESS_FILE, identity)
    return RunningEngine(**record, identity=identity, folder=folder, process=process)


def engine_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables of `environment` that an engine needs.

    Servers read options from variables: LORA_PATH, CHAT_FORMAT or LLAMA_ARG_LORA would change the answers of a verified release,
    and HOST would expose it to the network.
    """
    inherited = {k: v for k, v in environment.items() if k in _ALLOWED_VARIABLES or k.startswith(_ALLOWED_PREFIXES)}
    return inherited | OFFLINE_ENVIRONMENT


def adopt_engine(folder: Path) -> RunningEngine | None:
    """The engine that was started in `folder`, if it is still running."""
    identity = read_identity(folder / PROCESS_FILE)
    if identity is None or not is_alive(identity):
        return None
    try:
        record = json.loads((folder / RECORD_FILE).read_text(encoding="utf-8"))
        return RunningEngine(**record, identity=identity, folder=folder, process=None)
    except (OSError, ValueError, TypeError):
        stop_process(identity, folder / LOG_FILE, grace_seconds=5)  # unusable without its key
        return None


def is_healthy(engine: RunningEngine, timeout_seconds: float = 2.0) -> bool:
    """Whether the server answers with its model loaded under its alias."""
    try:
        with open_client(engine.url, engine.api_key, timeout_seconds) as client:
            reply = client.get("models")
            return reply.status_code == 200 and engine.alias in [m["id"] for m in reply.json()["data"]]
    except (httpx.HTTPError, ValueError, KeyError):
        return False


def wait_until_healthy(engine: RunningEngine, timeout_seconds: float) -> None:
    """Raises EngineError if the engine exits or takes longer."""
    deadline = time.monotonic() + timeout_seconds
    while not is_healthy(engine):
        if not engine.is_alive:
            raise EngineError(f"The engine for {engine.alias} exited while starting. See {engine.log}.")
        if time.monotonic() >= deadline:
            raise EngineError(
                f"The engine for {engine.alias} is not healthy after {timeout_seconds:g} s. See {engine.log}."
            )
        time.sleep(0.1)


def is_answering(engine: RunningEngine, timeout_seconds: float = 2.0) -> bool:
    """Whether it generates a token. A hung engine may still answer /models."""
    body = {"model": engine.alias, "messages": [{"role": "user", "content": "Say yes."}], "max_tokens": 1}
    try:
        with open_client(engine.url, engine.api_key, timeout_seconds) as client:
            return client.post("chat/completions", json=body).status_code == 200
    except httpx.HTTPError:
        return False


def warm_up(engine: RunningEngine, system_prompt: str, timeout_seconds: float) -> None:
    """Request a completion. Raises EngineError unless it has at least one token."""
    messages = [{"role": "system", "content": system_prompt}, {"role": "user", "content": "Say yes."}]
    with open_client(engine.url, engine.api_key, timeout_seconds) as client:
        if greedy_answer(client, engine, messages, 4).tokens < 1:
            raise EngineError(f"The engine for {engine.alias} generated no token at warm-up. See {engine.log}.")


@dataclass(frozen=True)
class GreedyAnswer:
    text: str
    prompt_tokens: int
    tokens: int


def greedy_answer(
    client: httpx.Client, engine: RunningEngine, messages: Sequence[Mapping[str, str]], max_tokens: int
) -> GreedyAnswer:
    """The answer at temperature 0. Raises EngineError, whose message never quotes the prompt."""
    request = {
        "model": engine.alias,
        "messages": messages,
        "temperature": 0,
        **PLAIN_SAMPLING,
        "max_tokens": max_tokens,
    }
    try:
        reply = client.post("chat/completions", json=request)
        reply.raise_for_status()
        content = reply.json()
        text, usage = content["choices"][0]["message"]["content"] or "", content["usage"]
        return GreedyAnswer(str(text), int(usage["prompt_tokens"]), int(usage["completion_tokens"]))
    except (httpx.HTTPError, ValueError, LookupError, TypeError) as error:
        # `from None`, because the cause may quote the prompt.
        raise EngineError(
            f"The engine for {engine.alias} did not answer ({type(error).__name__}). See {engine.log}."
        ) from None


def stop_engine(engine: RunningEngine, grace_seconds: float, *, kill: bool = False) -> None:
    """Stop the engine and remove its key; its log stays. It gets its shutdown time for running answers, unless `kill`, and
    `grace_seconds` to exit."""
    drain_seconds = 0 if kill else engine.shutdown_seconds
    _stop(engine.identity, engine.log, engine.url if engine.is_drained_first else None, drain_seconds, grace_seconds)
    if engine.process is not None:
        engine.process.wait()
    _remove_files(engine.folder)


def recorded_engine_folders(folder: Path) -> list[Path]:
    """Folders below `folder` of engines that were not stopped; they may be dead."""
    return [path.parent for path in folder.glob(f"*/{PROCESS_FILE}")]


def stop_recorded_engine(folder: Path, grace_seconds: float) -> None:
    """Stop the engine that any process started in `folder`, and remove its key."""
    identity = read_identity(folder / PROCESS_FILE)
    if identity is not None:
        record = _read_record(folder)
        drain_url = str(record["url"]) if record.get("is_drained_first") else None
        _stop(identity, folder / LOG_FILE, drain_url, float(record.get("shutdown_seconds", 0)), grace_seconds)
    _remove_files(folder)


def _stop(
    identity: ProcessIdentity, log: Path, drain_url: str | None, drain_seconds: float, grace_seconds: float
) -> None:
    """`drain_url`: set if SIGTERM breaks running answers; the signal is then sent after the last connection has closed."""
    if drain_url is not None:
        deadline, drain_seconds = time.monotonic() + drain_seconds, 0
        while time.monotonic() < deadline and is_alive(identity) and count_connections(drain_url):
            time.sleep(_POLL_SECONDS)
    stop_process(identity, log, grace_seconds + drain_seconds)


def recorded_program(folder: Path) -> tuple[str, int] | None:
    """The program started in `folder` and its maximum concurrency; None if there is none, or the record names none."""
    record = _read_record(folder)
    return (record["program"], record["max_concurrency"]) if record.get("program") else None


def _read_record(folder: Path) -> dict[str, Any]:
    """The record of the last engine started in `folder`; empty if it cannot be read."""
    try:
        return dict(json.loads((folder / RECORD_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def _remove_socket(folder: Path) -> None:
    path = socket_path(str(_read_record(folder).get("url", "")))
    if path is not None:
        path.unlink(missing_ok=True)


def _remove_files(folder: Path) -> None:
    _remove_socket(folder)
    for name in (RECORD_FILE, CONFIG_FILE, KEY_FILE, PROCESS_FILE):
        (folder / name).unlink(missing_ok=True)


def write_private_file(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with atomic_write(path) as temporary:
        temporary.touch(mode=0o600)
        temporary.write_text(text, encoding="utf-8")


def new_api_key() -> str:
    return secrets.token_urlsafe(32)


def loopback_url() -> str:
    return f"http://{HOST}:{free_port()}/v1"


def free_port() -> int:
    """An unused loopback port."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])

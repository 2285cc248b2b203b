"""The llama.cpp engine: an OpenAI-compatible server on loopback that serves one GGUF file.

Owns starting it (`python -m llama_cpp.server`), asking whether it is well, one warm-up completion, stopping it, and
finding it again after our own restart. Its API key lies in a file that only its user can read, never on the command
line. This server answers one request at a time; others wait in line.
"""

import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.files import written_aside
from fine_tune_assets.core.settings import OFFLINE_ENVIRONMENT
from fine_tune_assets.engines.processes import (
    ProcessIdentity,
    identify,
    is_alive,
    read_identity,
    start_process,
    stop_process,
    write_identity,
)

CONTEXT_TOKENS = 2048
"""Tokens of prompt and answer together. More cost memory in proportion."""
HOST = "127.0.0.1"
CONFIG, PROCESS, LOG = "engine.json", "process.json", "engine.log"
_PASSED_ON = ("PATH", "HOME", "LANG", "LANGUAGE", "TMPDIR", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME")
_PASSED_ON_PREFIXES = ("LC_", "OMP_", "OPENBLAS_", "CUDA_")


class EngineError(FineTuneError):
    """The engine did not start, died, or does not answer."""


@dataclass(frozen=True)
class RunningEngine:
    alias: str
    port: int
    api_key: str
    identity: ProcessIdentity
    folder: Path
    """Its config file, pid file and log."""
    process: subprocess.Popen[bytes] | None
    """None when another process of ours started it."""

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}/v1"

    @property
    def log(self) -> Path:
        return self.folder / LOG

    @property
    def is_alive(self) -> bool:
        if self.process is not None:
            self.process.poll()  # reaps it, so that it does not stay a zombie
        return is_alive(self.identity)


def start_engine(
    model: Path,
    alias: str,
    folder: Path,
    *,
    threads: int,
    die_with_parent: bool,
    tells_probabilities: bool = False,
    context_tokens: int = CONTEXT_TOKENS,
) -> RunningEngine:
    """Start a server for `model` and return at once; it is not healthy yet. `threads` 0 means all.

    `tells_probabilities`: answer questions about tokens' probabilities. It then keeps those of every token of a prompt, 4 bytes
    for each word of the vocabulary: 1 GB for 2048 tokens of Llama 3.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    port, api_key = free_port(), secrets.token_urlsafe(32)
    count = threads or os.cpu_count() or 1
    model_settings = {
        "model": str(model),
        "model_alias": alias,
        "n_ctx": context_tokens,
        # Said in any case: the server's own default is to keep them.
        "logits_all": tells_probabilities,
        "n_threads": count,
        "n_threads_batch": count,
        "verbose": False,
    }
    # Without interrupt_requests off, a new request cuts off the answer that is being streamed to somebody else.
    config = {"host": HOST, "port": port, "api_key": api_key, "interrupt_requests": False, "models": [model_settings]}
    _write_private(folder / CONFIG, json.dumps(config))
    process = start_process(
        [sys.executable, "-m", "llama_cpp.server", "--config_file", str(folder / CONFIG)],
        cwd=folder,
        environment=engine_environment(os.environ),
        log=folder / LOG,
        die_with_parent=die_with_parent,
    )
    identity = identify(process.pid)
    if identity is None:
        raise EngineError(f"The engine for {alias} ended at once. See {folder / LOG}.")
    write_identity(folder / PROCESS, identity)
    return RunningEngine(alias, port, api_key, identity, folder, process)


def engine_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What an engine needs of `environment`, and nothing else.

    The server fills whatever its config file leaves out from variables without a prefix: LORA_PATH or CHAT_FORMAT would
    change what a verified release answers, HOST would open it to the network.
    """
    passed_on = {k: v for k, v in environment.items() if k in _PASSED_ON or k.startswith(_PASSED_ON_PREFIXES)}
    return passed_on | OFFLINE_ENVIRONMENT


def adopt_engine(folder: Path) -> RunningEngine | None:
    """The engine that was started in `folder` before, if it still runs."""
    identity = read_identity(folder / PROCESS)
    if identity is None or not is_alive(identity):
        return None
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        stop_process(identity, folder / LOG, grace_seconds=5)  # without its key nobody can use it
        return None
    return RunningEngine(
        config["models"][0]["model_alias"], config["port"], config["api_key"], identity, folder, process=None
    )


def is_healthy(engine: RunningEngine, timeout_seconds: float = 2.0) -> bool:
    """Whether it answers, with its model loaded, under its own name."""
    try:
        with _client(engine, timeout_seconds) as client:
            reply = client.get("models")
            return reply.status_code == 200 and engine.alias in [m["id"] for m in reply.json()["data"]]
    except (httpx.HTTPError, ValueError, KeyError):
        return False


def wait_until_healthy(engine: RunningEngine, timeout_seconds: float) -> None:
    """Raises EngineError when it dies or takes longer."""
    deadline = time.monotonic() + timeout_seconds
    while not is_healthy(engine):
        if not engine.is_alive:
            raise EngineError(f"The engine for {engine.alias} ended while starting. See {engine.log}.")
        if time.monotonic() >= deadline:
            raise EngineError(f"The engine for {engine.alias} is not up after {timeout_seconds:g} s. See {engine.log}.")
        time.sleep(0.1)


def warm_up(engine: RunningEngine, system_prompt: str, timeout_seconds: float) -> None:
    """One real completion. Raises EngineError unless it gives at least one token."""
    messages = [{"role": "system", "content": system_prompt}, {"role": "user", "content": "Say yes."}]
    request = {"model": engine.alias, "messages": messages, "max_tokens": 4, "temperature": 0}
    try:
        with _client(engine, timeout_seconds) as client:
            reply = client.post("chat/completions", json=request)
            generated = reply.json()["usage"]["completion_tokens"] if reply.status_code == 200 else 0
    except (httpx.HTTPError, ValueError, KeyError) as error:
        raise EngineError(
            f"The engine for {engine.alias} failed its warm-up ({type(error).__name__}). See {engine.log}."
        ) from error
    if generated < 1:
        raise EngineError(
            f"The engine for {engine.alias} gave no answer at warm-up (HTTP {reply.status_code}). See {engine.log}."
        )


def stop_engine(engine: RunningEngine, grace_seconds: float) -> None:
    """Stop it and remove its key; its log stays."""
    stop_process(engine.identity, engine.log, grace_seconds)
    if engine.process is not None:
        engine.process.wait()
    _forget(engine.folder)


def recorded_engines(folder: Path) -> list[Path]:
    """The folders below `folder` of engines that nobody stopped; they may be dead."""
    return [path.parent for path in folder.glob(f"*/{PROCESS}")]


def stop_recorded_engine(folder: Path, grace_seconds: float) -> None:
    """Stop the engine that was started in `folder`, whoever did, and remove its key."""
    identity = read_identity(folder / PROCESS)
    if identity is not None:
        stop_process(identity, folder / LOG, grace_seconds)
    _forget(folder)


def _forget(folder: Path) -> None:
    for name in (CONFIG, PROCESS):
        (folder / name).unlink(missing_ok=True)


def _client(engine: RunningEngine, timeout_seconds: float) -> httpx.Client:
    # trust_env off: a proxy variable of the shell would send loopback requests away.
    headers = {"Authorization": f"Bearer {engine.api_key}"}
    return httpx.Client(base_url=engine.url, headers=headers, timeout=timeout_seconds, trust_env=False)


def _write_private(path: Path, text: str) -> None:
    with written_aside(path) as aside:
        aside.touch(mode=0o600)
        aside.write_text(text, encoding="utf-8")


def free_port() -> int:
    """A port of loopback that nobody has now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])

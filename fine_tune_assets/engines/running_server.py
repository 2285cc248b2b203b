"""A server that generates text and that we started: watched, asked, stopped, and found again after our own restart.

Owns what all engines have in common; how each is started is in a module of its own. An engine's key lies in a file that only its
user can read, never on a command line.
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
from fine_tune_assets.core.files import written_aside
from fine_tune_assets.core.processes.offline import OFFLINE_ENVIRONMENT
from fine_tune_assets.engines.addresses import open_client, open_connections, socket_of
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
"""Sent with every request to a served model: no penalty for repeated tokens, as in judging, whatever an engine's default is."""
CONTEXT_TOKENS = 2048
"""Tokens of prompt and answer together. More cost memory in proportion."""
HOST = "127.0.0.1"
SHUTDOWN_SECONDS = 60
"""An engine that serves users is told to finish what it answers at SIGTERM, up to this; so long is waited for it."""
RECORD, CONFIG, KEY, PROCESS, LOG = "engine.json", "server.json", "key", "process.json", "engine.log"
_LOOK_SECONDS = 0.1
_PASSED_ON = ("PATH", "HOME", "LANG", "LANGUAGE", "TMPDIR", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME")
_PASSED_ON_PREFIXES = ("LC_", "OMP_", "GOMP_", "OPENBLAS_", "CUDA_")


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
    """Its config file, pid file and log."""
    process: subprocess.Popen[bytes] | None
    """None when another process of ours started it."""
    shutdown_seconds: float = 0.0
    """What it was told it may take to finish its answers when it is stopped."""
    cuts_off: bool = False
    """Whether SIGTERM cuts off what it answers: then it gets the signal when its last answer is out."""
    program: str = ""
    """Which program answers, in words."""
    at_once: int = 0
    """Answers that it gives together; 0: as many as fit."""

    @property
    def log(self) -> Path:
        return self.folder / LOG

    @property
    def is_alive(self) -> bool:
        if self.process is not None:
            self.process.poll()  # reaps it, so that it does not stay a zombie
        return is_alive(self.identity)


def launch(
    command: Sequence[str],
    environment: Mapping[str, str],
    alias: str,
    url: str,
    api_key: str,
    folder: Path,
    die_with_parent: bool,
    *,
    program: str = "",
    at_once: int = 0,
    shutdown_seconds: float = 0.0,
    cuts_off: bool = False,
) -> RunningEngine:
    """Start a server and keep what is needed to find it again. It is not healthy yet."""
    _forget_socket(folder)  # of one that died here before
    record: dict[str, Any] = {
        "alias": alias,
        "url": url,
        "api_key": api_key,
        "shutdown_seconds": shutdown_seconds,
        "cuts_off": cuts_off,
        "program": program,
        "at_once": at_once,
    }
    write_private(folder / RECORD, json.dumps(record))
    process = start_process(
        command, cwd=folder, environment=environment, log=folder / LOG, die_with_parent=die_with_parent
    )
    identity = identify(process.pid)
    if identity is None:
        raise EngineError(f"The engine for {alias} ended at once. See {folder / LOG}.")
    write_identity(folder / PROCESS, identity)
    return RunningEngine(**record, identity=identity, folder=folder, process=process)


def engine_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What an engine needs of `environment`, and nothing else.

    A server fills whatever it was not told from variables: LORA_PATH, CHAT_FORMAT or LLAMA_ARG_LORA would change what a verified
    release answers, HOST would open it to the network.
    """
    passed_on = {k: v for k, v in environment.items() if k in _PASSED_ON or k.startswith(_PASSED_ON_PREFIXES)}
    return passed_on | OFFLINE_ENVIRONMENT


def adopt_engine(folder: Path) -> RunningEngine | None:
    """The engine that was started in `folder` before, if it still runs."""
    identity = read_identity(folder / PROCESS)
    if identity is None or not is_alive(identity):
        return None
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        return RunningEngine(**record, identity=identity, folder=folder, process=None)
    except (OSError, ValueError, TypeError):
        stop_process(identity, folder / LOG, grace_seconds=5)  # without its key nobody can use it
        return None


def is_healthy(engine: RunningEngine, timeout_seconds: float = 2.0) -> bool:
    """Whether it answers, with its model loaded, under its own name."""
    try:
        with open_client(engine.url, engine.api_key, timeout_seconds) as client:
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


def answers_now(engine: RunningEngine, timeout_seconds: float = 2.0) -> bool:
    """Whether it answers a question with a word. One whose pages are there may compute nothing any more."""
    body = {"model": engine.alias, "messages": [{"role": "user", "content": "Say yes."}], "max_tokens": 1}
    try:
        with open_client(engine.url, engine.api_key, timeout_seconds) as client:
            return client.post("chat/completions", json=body).status_code == 200
    except httpx.HTTPError:
        return False


def warm_up(engine: RunningEngine, system_prompt: str, timeout_seconds: float) -> None:
    """One real completion. Raises EngineError unless it gives at least one token."""
    messages = [{"role": "system", "content": system_prompt}, {"role": "user", "content": "Say yes."}]
    with open_client(engine.url, engine.api_key, timeout_seconds) as client:
        if greedy_answer(client, engine, messages, 4).tokens < 1:
            raise EngineError(f"The engine for {engine.alias} gave no answer at warm-up. See {engine.log}.")


@dataclass(frozen=True)
class GreedyAnswer:
    text: str
    prompt_tokens: int
    tokens: int


def greedy_answer(
    client: httpx.Client, engine: RunningEngine, messages: Sequence[Mapping[str, str]], max_tokens: int
) -> GreedyAnswer:
    """What it answers without chance. Raises EngineError, without a word of what was asked."""
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
        text, used = content["choices"][0]["message"]["content"] or "", content["usage"]
        return GreedyAnswer(str(text), int(used["prompt_tokens"]), int(used["completion_tokens"]))
    except (httpx.HTTPError, ValueError, LookupError, TypeError) as error:
        # Without its cause, which may quote what was asked.
        raise EngineError(
            f"The engine for {engine.alias} did not answer ({type(error).__name__}). See {engine.log}."
        ) from None


def stop_engine(engine: RunningEngine, grace_seconds: float, *, is_hung: bool = False) -> None:
    """Stop it and remove its key; its log stays. It gets the time that it was told for its last answers, and `grace_seconds` to
    end; without the first if it hangs, since it gives none."""
    answering_seconds = 0 if is_hung else engine.shutdown_seconds
    _stop(engine.identity, engine.log, engine.url if engine.cuts_off else None, answering_seconds, grace_seconds)
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
        record = _record(folder)
        cut_off_url = str(record["url"]) if record.get("cuts_off") else None
        _stop(identity, folder / LOG, cut_off_url, float(record.get("shutdown_seconds", 0)), grace_seconds)
    _forget(folder)


def _stop(
    identity: ProcessIdentity, log: Path, cut_off_url: str | None, answering_seconds: float, grace_seconds: float
) -> None:
    """`cut_off_url`: of one whose answers SIGTERM cuts off: it gets the signal when nobody is connected to it any more."""
    if cut_off_url is not None:
        deadline, answering_seconds = time.monotonic() + answering_seconds, 0
        while time.monotonic() < deadline and is_alive(identity) and open_connections(cut_off_url):
            time.sleep(_LOOK_SECONDS)
    stop_process(identity, log, grace_seconds + answering_seconds)


def recorded_program(folder: Path) -> tuple[str, int] | None:
    """Which program was started in `folder`, and how many answers it gives at once; None if none is, or it does not say."""
    record = _record(folder)
    return (record["program"], record["at_once"]) if record.get("program") else None


def _record(folder: Path) -> dict[str, Any]:
    """What is known of the engine that was started in `folder` last; empty where that can't be read."""
    try:
        return dict(json.loads((folder / RECORD).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def _forget_socket(folder: Path) -> None:
    path = socket_of(str(_record(folder).get("url", "")))
    if path is not None:
        path.unlink(missing_ok=True)


def _forget(folder: Path) -> None:
    _forget_socket(folder)
    for name in (RECORD, CONFIG, KEY, PROCESS):
        (folder / name).unlink(missing_ok=True)


def write_private(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with written_aside(path) as aside:
        aside.touch(mode=0o600)
        aside.write_text(text, encoding="utf-8")


def new_key() -> str:
    return secrets.token_urlsafe(32)


def loopback_url() -> str:
    return f"http://{HOST}:{free_port()}/v1"


def free_port() -> int:
    """A port of loopback that nobody has now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])

"""The language model behind a judge: a server inside the network, or a local model that is served while something is asked.

Its folder holds key, log and pid file, one for each judging process; what a killed process left there is removed. Nothing is
started before a question needs it: a run whose grades are all cached starts nothing.
"""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from fine_tune_assets.core.errors import RecipeError
from fine_tune_assets.core.fingerprints import fingerprint_file, fingerprint_folder
from fine_tune_assets.engines.chat_client import ChatClient, ChatServer
from fine_tune_assets.engines.llama_cpp import ALL_LAYERS, find_llama_server, start_llama_cpp
from fine_tune_assets.engines.running_server import RunningEngine, stop_engine, wait_until_healthy
from fine_tune_assets.engines.vllm import start_vllm
from fine_tune_assets.judging.judges.grades import JudgeKind

START_SECONDS = 1800.0
"""A 70B model is read from the disk first."""
STOP_SECONDS = 20.0
Start = Callable[[Path], RunningEngine]
"""Starts an engine in a folder."""


class OwnServer:
    """One at a time: another one is started when this one is gone, since two may not fit side by side."""

    def __init__(self, run_folder: Path) -> None:
        self._run_folder = run_folder
        self._engine: RunningEngine | None = None

    def start(self, start: Start) -> None:
        """In the thread that outlives all questions: the server ends with it. Raises EngineError."""
        self.stop()
        _remove_left(self._run_folder)
        engine = start(self._run_folder / str(os.getpid()))
        try:
            wait_until_healthy(engine, START_SECONDS)
        except BaseException:
            stop_engine(engine, STOP_SECONDS)  # its log stays: the error names it
            raise
        self._engine = engine

    def client(self, model: str) -> ChatClient:
        """Somebody to ask it as `model`; close it."""
        assert self._engine is not None, "Nothing was started."
        return ChatClient(ChatServer(self._engine.url, self._engine.api_key, model))

    def stop(self) -> None:
        if self._engine is not None:
            stop_engine(self._engine, STOP_SECONDS)
            shutil.rmtree(self._engine.folder, ignore_errors=True)
            self._engine = None


def _remove_left(run_folder: Path) -> None:
    """What judging left that was killed: its server died with it, and the key to it is of no use."""
    for left in run_folder.glob("*"):
        if left.name.isdigit() and not Path(f"/proc/{left.name}").exists():
            shutil.rmtree(left, ignore_errors=True)


ALIAS = "judge"


class JudgeModel(Protocol):
    kind: JudgeKind

    @property
    def described(self) -> dict[str, Any]:
        """What makes it this model and no other: JSON."""

    def client(self) -> ChatClient:
        """Who to ask; started if it has to be. In the thread that outlives all questions."""

    def close(self) -> None:
        """Stop what was started."""


@dataclass
class EndpointModel:
    """A server that somebody else runs. What it says of its model is believed: its weights can't be looked at."""

    server: ChatServer
    kind: JudgeKind = "endpoint"
    _client: ChatClient | None = None

    @cached_property
    def described(self) -> dict[str, Any]:
        return {"endpoint": self.client().describe_model(), "model": self.server.model}

    def client(self) -> ChatClient:
        if self._client is None:
            self._client = ChatClient(self.server)
        return self._client

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None


@dataclass
class FolderModel:
    """A GGUF file, served by llama.cpp, or a Hugging Face folder, served by vLLM."""

    path: Path
    run_folder: Path
    """For the server's key, log and pid file, a folder for each process that judges."""
    vllm_python: Path
    context_tokens: int
    threads: int
    llama_server: str
    """The setting of that name."""
    parallel: int
    """Questions that llama.cpp answers at the same time. Each takes memory for `context_tokens`."""
    kind: JudgeKind = "folder"
    _client: ChatClient | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        is_model = self.path.suffix == ".gguf" if self.path.is_file() else (self.path / "config.json").is_file()
        if not is_model:
            raise RecipeError(f"judge.model: {self.path} is neither a .gguf file nor a Hugging Face folder.")
        self._server = OwnServer(self.run_folder)

    @property
    def is_gguf(self) -> bool:
        return self.path.is_file()

    @cached_property
    def described(self) -> dict[str, Any]:
        """By its content. The context is named, since what does not fit into it has no grade."""
        content = fingerprint_file(self.path) if self.is_gguf else fingerprint_folder(self.path)
        engine = "llama_cpp" if self.is_gguf else "vllm"
        return {"content": content, "engine": engine, "context_tokens": self.context_tokens}

    def client(self) -> ChatClient:
        if self._client is None:
            self._server.start(self.start_in)
            self._client = self._server.client(ALIAS)
        return self._client

    def start_in(self, folder: Path) -> RunningEngine:
        """On the GPU where there is one: judging holds its pool, and whoever answered is gone from its memory."""
        if not self.is_gguf:
            return start_vllm(self.vllm_python, self.path, ALIAS, folder, context_tokens=self.context_tokens)
        return start_llama_cpp(
            self.path,
            ALIAS,
            folder,
            threads=self.threads,
            die_with_parent=True,
            parallel=self.parallel,
            context_tokens=self.context_tokens,
            gpu_layers=ALL_LAYERS,
            program=find_llama_server(self.llama_server),
        )

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
        self._client = None
        self._server.stop()

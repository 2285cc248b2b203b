"""The language model behind a judge: a server inside the network, or a local model that is served for the time of judging.

Owns what is known of the model before anything is asked, which is part of a judge's version, and starting and stopping what has
to be served. Nothing is started before a question needs it: a run whose grades are all kept starts nothing.
"""

import os
import shutil
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from fine_tune_assets.core.errors import RecipeError
from fine_tune_assets.core.fingerprints import fingerprint_file, fingerprint_folder
from fine_tune_assets.engines.chat_client import ChatClient, ChatServer
from fine_tune_assets.engines.llama_cpp import RunningEngine, start_engine, stop_engine, wait_until_healthy
from fine_tune_assets.engines.vllm import start_vllm
from fine_tune_assets.judging.grades import JudgeKind

ALIAS = "judge"
START_SECONDS = 1800.0
"""A 70B model is read from the disk first."""
STOP_SECONDS = 20.0


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
    kind: JudgeKind = "folder"
    _engine: RunningEngine | None = None
    _client: ChatClient | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        is_model = self.path.suffix == ".gguf" if self.path.is_file() else (self.path / "config.json").is_file()
        if not is_model:
            raise RecipeError(f"judge.model: {self.path} is neither a .gguf file nor a Hugging Face folder.")

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
            self._engine = self._start()
            self._client = ChatClient(ChatServer(self._engine.url, self._engine.api_key, ALIAS))
        return self._client

    def _start(self) -> RunningEngine:
        _remove_left(self.run_folder)
        folder = self.run_folder / str(os.getpid())
        if self.is_gguf:
            engine = start_engine(
                self.path, ALIAS, folder, threads=self.threads, die_with_parent=True, context_tokens=self.context_tokens
            )
        else:
            engine = start_vllm(self.vllm_python, self.path, ALIAS, folder, context_tokens=self.context_tokens)
        try:
            wait_until_healthy(engine, START_SECONDS)
        except BaseException:
            stop_engine(engine, STOP_SECONDS)  # its log stays: the error names it
            raise
        return engine

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
        if self._engine is not None:
            stop_engine(self._engine, STOP_SECONDS)
            shutil.rmtree(self._engine.folder, ignore_errors=True)
        self._client = self._engine = None


def _remove_left(run_folder: Path) -> None:
    """What judging left that was killed: its server died with it, and the key to it is of no use."""
    for left in run_folder.glob("*"):
        if left.name.isdigit() and not Path(f"/proc/{left.name}").exists():
            shutil.rmtree(left, ignore_errors=True)

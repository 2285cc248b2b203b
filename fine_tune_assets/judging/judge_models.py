"""The language model behind a judge: a server inside the network, or a local model that is served for the time of judging.

Owns what is known of the model before anything is asked, which is part of a judge's version, and starting and stopping what has
to be served. Nothing is started before a question needs it: a run whose grades are all kept starts nothing.
"""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from fine_tune_assets.core.errors import RecipeError
from fine_tune_assets.core.fingerprints import fingerprint_file, fingerprint_folder
from fine_tune_assets.engines.chat_client import ChatClient, ChatServer
from fine_tune_assets.engines.llama_cpp import ALL_LAYERS, find_llama_server, start_llama_cpp
from fine_tune_assets.engines.running import RunningEngine
from fine_tune_assets.engines.vllm import start_vllm
from fine_tune_assets.judging.grades import JudgeKind
from fine_tune_assets.judging.own_server import OwnServer

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

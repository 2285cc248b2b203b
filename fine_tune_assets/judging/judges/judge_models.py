"""The language model behind a judge: a server in the network, or a local model that runs while it judges.

Each judging process has a folder for its key, log and PID file; folders of killed processes are removed. A server starts with the
first uncached question.
"""

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from fine_tune_assets.core.errors import RecipeError
from fine_tune_assets.core.fingerprints import fingerprint_file, fingerprint_folder, fingerprint_text
from fine_tune_assets.core.prompts.chat_templates import CHAT_TEMPLATE_FILE, read_chat_template
from fine_tune_assets.core.prompts.served_templates import JUDGE_FIELD, TemplateValue, build_served_template
from fine_tune_assets.core.prompts.tokenizers import read_special_tokens
from fine_tune_assets.engines.chat_client import ChatClient, ChatServer
from fine_tune_assets.engines.gguf_header import read_gguf_template
from fine_tune_assets.engines.llama_cpp import ALL_LAYERS, find_llama_server, start_llama_cpp
from fine_tune_assets.engines.running_server import RunningEngine, stop_engine, wait_until_healthy, write_private_file
from fine_tune_assets.engines.vllm import start_vllm

START_TIMEOUT_SECONDS = 1800.0
"""Long enough to load a 70B model from disk."""
STOP_TIMEOUT_SECONDS = 20.0
EngineStarter = Callable[[Path], RunningEngine]
"""Starts an engine in the given folder."""


class LocalServer:
    """Runs one engine at a time, because two may not fit in memory."""

    def __init__(self, run_folder: Path) -> None:
        self._run_folder = run_folder
        self._engine: RunningEngine | None = None

    def start(self, start: EngineStarter) -> None:
        """Stop the running engine and start another one. Raises EngineError.

        Call it in a thread that outlives all questions, because the server ends with that thread.
        """
        self.stop()
        _remove_stale_folders(self._run_folder)
        engine = start(self._run_folder / str(os.getpid()))
        try:
            wait_until_healthy(engine, START_TIMEOUT_SECONDS)
        except BaseException:
            stop_engine(engine, STOP_TIMEOUT_SECONDS)  # keep the log, which the error names
            raise
        self._engine = engine

    def client(self, model: str) -> ChatClient:
        """A client for `model`; the caller closes it."""
        assert self._engine is not None, "start() was not called"
        return ChatClient(ChatServer(self._engine.url, self._engine.api_key, model))

    def stop(self) -> None:
        if self._engine is not None:
            stop_engine(self._engine, STOP_TIMEOUT_SECONDS)
            shutil.rmtree(self._engine.folder, ignore_errors=True)
            self._engine = None


def _remove_stale_folders(run_folder: Path) -> None:
    """Remove the folders of killed judging processes, whose servers ended with them."""
    for folder in run_folder.glob("*"):
        if folder.name.isdigit() and not Path(f"/proc/{folder.name}").exists():
            shutil.rmtree(folder, ignore_errors=True)


ALIAS = "judge"


def weights_bytes(path: Path) -> int | None:
    """Size of a model's weights: of the GGUF file, or of the safetensors in the folder; None if there are none."""
    files = [path] if path.is_file() else path.glob("*.safetensors")
    return sum(file.stat().st_size for file in files) or None


class JudgeModel(Protocol):
    @property
    def identity(self) -> dict[str, Any]:
        """Identifies the model, as JSON."""

    def client(self) -> ChatClient:
        """A client for the model, which is started if needed. Call it in a thread that outlives all questions."""

    def close(self) -> None:
        """Close the client and stop the server, if any."""


@dataclass
class EndpointModel:
    """A server run by others. Its own description identifies the model, because its weights are not accessible."""

    server: ChatServer
    _client: ChatClient | None = None

    @cached_property
    def identity(self) -> dict[str, Any]:
        found = {"endpoint": self.client().describe_model(), "model": self.server.model}
        return found | ({"template_kwargs": dict(self.server.template_kwargs)} if self.server.template_kwargs else {})

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
    """Holds a folder per judging process for the server's key, log and PID file."""
    vllm_python: Path
    context_tokens: int
    threads: int
    llama_server: str
    """The setting `llama.server`."""
    concurrency: int
    """Parallel requests to llama.cpp. Each needs memory for `context_tokens`."""
    template_kwargs: Mapping[str, TemplateValue] = field(default_factory=dict)
    _client: ChatClient | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        is_model = self.path.suffix == ".gguf" if self.path.is_file() else (self.path / "config.json").is_file()
        if not is_model:
            raise RecipeError(f"judge.model: {self.path} is neither a .gguf file nor a Hugging Face folder.")
        self._server = LocalServer(self.run_folder)

    @property
    def is_gguf(self) -> bool:
        return self.path.is_file()

    @cached_property
    def identity(self) -> dict[str, Any]:
        """By content. Includes the context length, because an answer that does not fit has no grade."""
        content = fingerprint_file(self.path) if self.is_gguf else fingerprint_folder(self.path)
        engine = "llama_cpp" if self.is_gguf else "vllm"
        found = {"content": content, "engine": engine, "context_tokens": self.context_tokens}
        template = self._changed_template
        return found if template is None else {**found, "chat_template": fingerprint_text(template)}

    @cached_property
    def _changed_template(self) -> str | None:
        """The template with which the model begins its reply instead of reasoning; None if its own does. Raises
        UnusableTemplateError."""
        source = read_gguf_template(self.path) if self.is_gguf else read_chat_template(self.path)
        special = {"bos_token": "", "eos_token": ""} if self.is_gguf else read_special_tokens(self.path)
        if not source:
            return None
        template = build_served_template(self.path.name, source, special, self.template_kwargs, JUDGE_FIELD)
        return None if template == source else template

    def client(self) -> ChatClient:
        if self._client is None:
            self._server.start(self.start_engine)
            self._client = self._server.client(ALIAS)
        return self._client

    def start_engine(self, folder: Path) -> RunningEngine:
        """Start the engine, on the GPU if available: judging holds the GPU pool, and the judged models are unloaded."""
        template: Path | None = None
        if self._changed_template is not None:
            template = folder / CHAT_TEMPLATE_FILE
            write_private_file(template, self._changed_template)
        if not self.is_gguf:
            return start_vllm(
                self.vllm_python, self.path, ALIAS, folder, context_tokens=self.context_tokens, chat_template=template
            )
        return start_llama_cpp(
            self.path,
            ALIAS,
            folder,
            threads=self.threads,
            die_with_parent=True,
            parallel=self.concurrency,
            context_tokens=self.context_tokens,
            gpu_layers=ALL_LAYERS,
            program=find_llama_server(self.llama_server),
            chat_template=template,
        )

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
        self._client = None
        self._server.stop()

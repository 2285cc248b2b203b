"""One vLLM process for the LoRA adapters of several deployments on one base model.

Each deployment has its own adapter server (`adapter_server.py`), so that it is started, drained and stopped like any engine. The
first server to attach starts vLLM, the last one to detach stops it. A server that was killed is noticed by the next one.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import httpx

from fine_tune_assets.core.files import file_lock, file_lock_within, write_text
from fine_tune_assets.core.settings import VllmSettings
from fine_tune_assets.engines.listen_addresses import new_socket_path, open_client
from fine_tune_assets.engines.processes import ProcessIdentity, is_alive
from fine_tune_assets.engines.running_server import (
    EngineError,
    RunningEngine,
    adopt_engine,
    is_answering,
    stop_engine,
    stop_recorded_engine,
    wait_until_healthy,
)
from fine_tune_assets.engines.vllm import start_vllm

ALIAS = "base"
"""Name of the base model in vLLM. No adapter server passes it on."""
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
"""Of PEFT. The other files of a release's folder are the base model's configuration and tokenizer."""
_ATTACHED, _LOCK, _MODEL = "attached", "lock", "model"
_LOAD_SECONDS = 300.0
STOP_SECONDS = 60.0
_LOCK_SECONDS = 5.0
_ANSWER_SECONDS = 10.0


@dataclass(frozen=True)
class SharedEngine:
    """A vLLM process that deployments share: those with the same base model, configuration, tokenizer and settings."""

    folder: Path
    """Run folder of the process, private to this user."""
    sockets: Path
    base: Path
    """Folder of the base model's weights."""
    python: Path
    """Interpreter of vLLM's environment."""
    context_tokens: int
    serving: VllmSettings

    def to_json(self) -> dict[str, Any]:
        values = {name: str(value) if isinstance(value, Path) else value for name, value in vars(self).items()}
        return {**values, "serving": self.serving.model_dump()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "SharedEngine":
        paths = {name: Path(values[name]) for name in ("folder", "sockets", "base", "python")}
        return cls(**paths, context_tokens=values["context_tokens"], serving=VllmSettings(**values["serving"]))


@dataclass(frozen=True)
class _Attachment:
    name: str
    """Name of the adapter in vLLM."""
    identity: ProcessIdentity
    is_loaded: bool


def attach(
    shared: SharedEngine, name: str, adapter: Path, identity: ProcessIdentity, timeout_seconds: float
) -> RunningEngine:
    """Load `adapter` as `name`, and return vLLM's process. Starts it if it is not running. `identity`: the adapter server.

    `adapter` holds the adapter, and the configuration and tokenizer to serve it with. Raises EngineError; call `detach` in any
    case.
    """
    with _locked(shared.folder):
        engine = adopt_engine(shared.folder) or _start(shared, adapter)
        _record(shared.folder, _Attachment(name, identity, is_loaded=False))
    wait_until_healthy(engine, timeout_seconds)
    with _locked(shared.folder):
        others = _remove_dead(shared.folder, engine, but=identity)
        if not any(other.is_loaded and other.name == name for other in others):
            _post(engine, "load_lora_adapter", {"lora_name": name, "lora_path": str(adapter)})
        _record(shared.folder, _Attachment(name, identity, is_loaded=True))
    return engine


def detach(folder: Path, identity: ProcessIdentity) -> None:
    """Unload the adapter unless another server serves it, and stop vLLM if no server is left."""
    with _locked(folder):
        _file(folder, identity).unlink(missing_ok=True)
        engine = adopt_engine(folder)
        if not _remove_dead(folder, engine):
            stop_recorded_engine(folder, STOP_SECONDS)


def stop_unused(root: Path) -> None:
    """Stop the vLLM processes below `root` whose adapter servers were all killed.

    Leaves one whose lock stays taken: a server is attaching to it, or stopping it, which must not delay the other lines.
    """
    folders = [path for path in root.iterdir() if path.is_dir()] if root.is_dir() else []
    for folder in folders:
        with file_lock_within(folder / _LOCK, _LOCK_SECONDS) as is_locked:
            if is_locked and not any(is_alive(found.identity) for found in _read_attachments(folder)):
                stop_recorded_engine(folder, STOP_SECONDS)


def stop_if_hung(folder: Path, name: str) -> None:
    """Stop vLLM at once unless it answers for the adapter `name`: then only the adapter's server hangs."""
    engine = adopt_engine(folder)
    if engine is not None and not is_answering(replace(engine, alias=name), _ANSWER_SECONDS):
        stop_engine(engine, 0, kill=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with file_lock(folder / _LOCK):
        yield


def _start(shared: SharedEngine, adapter: Path) -> RunningEngine:
    stop_recorded_engine(shared.folder, 0)  # worker processes of one that died hold its memory
    model = shared.folder / _MODEL
    _link_model(shared.base, adapter, model)
    return start_vllm(
        shared.python,
        model,
        ALIAS,
        shared.folder,
        context_tokens=shared.context_tokens,
        socket=new_socket_path(shared.sockets),
        serving=shared.serving,
        is_shared=True,
    )


def _link_model(base: Path, adapter: Path, model: Path) -> None:
    """The base model's weights with the release's configuration and tokenizer, on which the adapter was judged."""
    shutil.rmtree(model, ignore_errors=True)  # of a process that died
    model.mkdir(mode=0o700)
    for path in [*base.glob("*.safetensors"), *base.glob("*.safetensors.index.json")]:
        (model / path.name).symlink_to(path.resolve())
    for path in adapter.iterdir():
        if path.name not in ADAPTER_FILES:
            shutil.copyfile(path, model / path.name)


def _remove_dead(folder: Path, engine: RunningEngine | None, but: ProcessIdentity | None = None) -> list[_Attachment]:
    """Unload the adapters that no living server serves; return the attachments of the living ones except `but`."""
    found = _read_attachments(folder)
    living = [one for one in found if is_alive(one.identity)]
    for one in found:
        if one not in living:
            _file(folder, one.identity).unlink(missing_ok=True)
    if engine is not None and living:
        for name in _list_adapters(engine) - {one.name for one in living if one.is_loaded}:
            _post(engine, "unload_lora_adapter", {"lora_name": name})
    return [one for one in living if one.identity != but]


def _list_adapters(engine: RunningEngine) -> set[str]:
    try:
        with open_client(engine.url, engine.api_key, _LOAD_SECONDS) as client:
            return {model["id"] for model in client.get("models").json()["data"]} - {ALIAS}
    except (httpx.HTTPError, ValueError, LookupError, TypeError):
        return set()  # it is starting or has died; the caller finds out


def _post(engine: RunningEngine, route: str, body: Mapping[str, str]) -> None:
    try:
        with open_client(engine.url, engine.api_key, _LOAD_SECONDS) as client:
            reply = client.post(route, json=body)
    except httpx.HTTPError as error:
        raise EngineError(
            f"The shared vLLM process did not answer ({type(error).__name__}). See {engine.log}."
        ) from None
    if reply.status_code != httpx.codes.OK:
        raise EngineError(f"vLLM refused {route} of {body['lora_name']} (HTTP {reply.status_code}). See {engine.log}.")


def _file(folder: Path, identity: ProcessIdentity) -> Path:
    return folder / _ATTACHED / f"{identity.pid}.json"


def _record(folder: Path, attachment: _Attachment) -> None:
    write_text(_file(folder, attachment.identity), json.dumps(asdict(attachment)))


def _read_attachments(folder: Path) -> list[_Attachment]:
    values = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((folder / _ATTACHED).glob("*.json"))]
    return [_Attachment(one["name"], ProcessIdentity(**one["identity"]), one["is_loaded"]) for one in values]

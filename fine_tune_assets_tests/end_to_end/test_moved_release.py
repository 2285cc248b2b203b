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
from fine_tune_assets.core.prompts.chat import plain_messages
from fine_tune_assets.core.prompts.retrieval_contract import RetrievalContract
from fine_tune_assets.core.records import Release
from fine_tune_assets.core.releases.release_folders import PROBES, RETRIEVAL, ReleaseFolder
from fine_tune_assets.core.settings import PREFIX, Settings
from fine_tune_assets.engines.addresses import open_client
from fine_tune_assets.engines.processes import is_alive, read_identity
from fine_tune_assets.engines.running_server import (
    PLAIN_SAMPLING,
    PROCESS,
    free_port,
    recorded_engines,
    stop_engine,
    wait_until_healthy,
)
from fine_tune_assets.ledger.database import open_ledger
from fine_tune_assets.ledger.people.api_keys import create_key
from fine_tune_assets.ledger.serving.deployments import live_deployment
from fine_tune_assets.ledger.serving.releases import list_releases, record_release
from fine_tune_assets.ledger.serving.verdict_documents import prove
from fine_tune_assets.ledger.serving.verdicts import record_verdict
from fine_tune_assets.serving.engine_start import start_for
from fine_tune_assets.serving.left_engines import ENGINES
from fine_tune_assets.serving.services import start_services, stop_services
from fine_tune_assets_tests.merging.released import whole_release
from fine_tune_assets_tests.serving.tiny import tiny_gguf

SERVICES = ("supervisor", "gateway")
QUESTION = [{"role": "user", "content": "Name a colour."}]
OTHER = {RETRIEVAL: RetrievalContract("{passages}", "Nothing.", 3, 0.5, "none", False).as_json()}


def _answered_by_the_engine(root: Path) -> dict[str, Any]:
    """The probes of a release, as this machine's engine answers them."""
    release = whole_release(root, model=tiny_gguf(), other=OTHER)
    engine = start_for(release, root / "engine", Settings(data_dir=root, threads=2))
    try:
        wait_until_healthy(engine, 60)
        messages = plain_messages([{"role": "system", "content": release.system_prompt}, *QUESTION], ())  # type: ignore[list-item]
        body = {"model": engine.alias, "messages": messages, "temperature": 0, **PLAIN_SAMPLING, "max_tokens": 8}
        with open_client(engine.url, engine.api_key, 60) as client:
            content = client.post("chat/completions", json=body).json()
    finally:
        stop_engine(engine, 5, is_hung=True)
    probe = {
        "messages": QUESTION,
        "prompt_tokens": content["usage"]["prompt_tokens"],
        "answer": content["choices"][0]["message"]["content"],
        "answer_tokens": 8,
    }
    return {"minimum_same_greedy": 1.0, "probes": [probe]}


@pytest.fixture(scope="module")
def probes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return _answered_by_the_engine(tmp_path_factory.mktemp("probed"))


def _exported(root: Path, probes: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> tuple[Path, ReleaseFolder]:
    """From an installation that imported nothing and whose ledger has the release as its own."""
    release = whole_release(root, model=tiny_gguf(), other={**OTHER, PROBES: json.dumps(probes)})
    evidence = release.folder / "evidence"
    names = [name for name in Release.__dataclass_fields__ if name not in ("release_id", "folder")]
    facts = {name: release.manifest[name] for name in names}
    ledger = open_ledger(Settings(data_dir=root).database_url)
    record_verdict(ledger, prove(evidence / "verdict.json", evidence / "verdicts.pub").verdict)
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
    """An installation that serves; nothing runs on it yet."""
    settings = Settings(data_dir=tmp_path / "there", gateway={"port": free_port()}, threads=2)
    yield settings
    stop_services(settings, SERVICES)


def test_a_release_answers_users_of_another_installation(
    there: Settings, probes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its probes are asked on this machine first, and no engine of that is left."""
    archive, release = _exported(tmp_path / "here", probes, monkeypatch)
    key = tmp_path / "here" / "keys" / "releases.pub"
    for name, value in (("DATA_DIR", there.data_dir), ("GATEWAY_PORT", there.gateway.port), ("THREADS", 2)):
        monkeypatch.setenv(PREFIX + name, str(value))
    done = run("releases", "import", str(archive), "--public-key", str(key))
    assert done.exit_code == 0, done.output
    assert "probes on this machine: 1 of 1 prompts have the same number of tokens" in done.output
    assert recorded_engines(there.layout.run / ENGINES) == []
    start_services(there, SERVICES)
    served = run("releases", "serve", release.release_id)
    assert served.exit_code == 0, served.output
    ledger = open_ledger(there.database_url)
    secret = create_key(ledger, "asks", ["chat"]).secret
    live = live_deployment(ledger)
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
    assert "(imported, key" in run("status").output


@pytest.mark.parametrize("change", [{"prompt_tokens": 3}, {"answer": "Nothing like it."}])
def test_a_release_that_answers_otherwise_here_is_not_imported(
    there: Settings, probes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    """Nothing of it is left, and no engine runs on."""
    changed = {**probes, "probes": [{**probes["probes"][0], **change}]}
    archive, _ = _exported(tmp_path / "here", changed, monkeypatch)
    monkeypatch.setenv(f"{PREFIX}DATA_DIR", str(there.data_dir))
    done = run("releases", "import", str(archive), "--public-key", str(tmp_path / "here" / "keys" / "releases.pub"))
    assert (done.exit_code, "does not answer as it was judged" in done.output) == (1, True)
    ledger = open_ledger(there.database_url)
    assert list_releases(ledger) == []
    ledger.close()
    assert list(there.layout.releases.iterdir()) == []
    assert list((there.layout.run / ENGINES).iterdir()) == []
    assert not (there.layout.keys / "imported").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_import_that_is_ended_leaves_no_engine_and_no_release(
    there: Settings, probes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """It would hold the memory of a model that nobody asks."""
    archive, _ = _exported(tmp_path / "here", {**probes, "probes": probes["probes"] * 2_000}, monkeypatch)
    command = [sys.executable, "-m", "fine_tune_assets.cli.main", "releases", "import", str(archive)]
    importing = subprocess.Popen(
        [*command, "--public-key", str(tmp_path / "here" / "keys" / "releases.pub")],
        env={**os.environ, f"{PREFIX}DATA_DIR": str(there.data_dir)},
    )
    deadline = time.monotonic() + 60
    while not (found := recorded_engines(there.layout.run / ENGINES)) and time.monotonic() < deadline:
        time.sleep(0.05)
    (folder,) = found
    engine = read_identity(folder / PROCESS)
    assert engine is not None
    importing.send_signal(number)
    assert importing.wait(60) != 0
    assert not is_alive(engine)
    assert list((there.layout.run / ENGINES).iterdir()) == []
    assert list(there.layout.releases.iterdir()) == []

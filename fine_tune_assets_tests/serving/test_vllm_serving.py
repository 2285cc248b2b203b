"""A release on vLLM, started by the supervisor. Needs `make setup-vllm`."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from fine_tune_assets.core.keys import read_or_create_key
from fine_tune_assets.core.processes.offline import go_offline
from fine_tune_assets.core.prompts.prompt_contract import read_prompt_contract
from fine_tune_assets.core.releases.release_folders import WEIGHTS
from fine_tune_assets.core.settings import Settings, load_settings
from fine_tune_assets.engines.listen_addresses import count_connections, socket_path
from fine_tune_assets.engines.running_server import RunningEngine, adopt_engine
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.encryption import KEY_NAME
from fine_tune_assets.ledger.serving.deployments import find_deployment, open_engine_key, request_deployment
from fine_tune_assets.serving.reconciliation import SupervisorTimings
from fine_tune_assets.serving.supervisor import Supervisor
from fine_tune_assets_tests.changed_settings import changed
from fine_tune_assets_tests.ledger.new_ledgers import fresh_ledger
from fine_tune_assets_tests.serving.story_streams import MARKER, streams_begun
from fine_tune_assets_tests.serving.supervisor_ticks import tick_until
from fine_tune_assets_tests.serving.tiny_releases import put_release

PYTHON = load_settings().vllm_interpreter
pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("serving"),
    pytest.mark.skipif(not PYTHON.is_file(), reason="vLLM is not installed: make setup-vllm"),
]
OPEN_ROUTES = ("/metrics", "/version", "/load", "/ping")
"""Routes that vLLM serves without a key (checked with 0.32)."""


def _release(settings: Settings, ledger: Ledger) -> str:
    go_offline()
    from fine_tune_assets.training.base_models.registration import import_bundled_model

    base = import_bundled_model(settings.data_dir / "imported")
    contract = read_prompt_contract(base, "You are brief.")
    return put_release(settings, ledger, contract, lambda folder: base.rename(folder / WEIGHTS), engine="vllm")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Supervisor, Ledger, RunningEngine]]:
    """One start for all tests: it takes half a minute on an idle machine."""
    settings = changed(
        Settings(data_dir=tmp_path_factory.mktemp("vllm")), vllm={"python": str(PYTHON), "kv_cache_gb": 1}, threads=1
    )
    ledger = fresh_ledger(settings)
    supervisor = Supervisor(settings, ledger, SupervisorTimings(warm_up_timeout_seconds=300, stop_grace_seconds=60))
    try:
        name = request_deployment(ledger, _release(settings, ledger)).deployment_id
        tick_until(supervisor, lambda: find_deployment(ledger, name).state in ("ready", "failed"), 600)  # type: ignore[union-attr]
        found = find_deployment(ledger, name)
        assert found is not None
        assert found.state == "ready", found.detail
        assert open_engine_key(
            read_or_create_key(settings.layout.keys, KEY_NAME), found.deployment_id, found.engine_key
        )
        engine = adopt_engine(settings.layout.run / "engines" / name)
        assert engine is not None
        yield supervisor, ledger, engine
    finally:
        supervisor.close()
        ledger.close()


def test_unauthenticated_routes_are_not_reachable_by_other_users(
    served: tuple[Supervisor, Ledger, RunningEngine],
) -> None:
    """The socket is private to this user, and no port is open."""
    engine = served[2]
    path = socket_path(engine.url)
    assert path is not None
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://engine") as own:
        assert [own.get(route).status_code for route in OPEN_ROUTES] == [200] * len(OPEN_ROUTES)
        assert own.get("/v1/models").status_code == 401
    inodes = {line.split()[9] for line in Path("/proc/net/tcp").read_text().splitlines()[1:] if line.split()[3] == "0A"}
    held = {os.readlink(entry) for entry in Path(f"/proc/{engine.identity.pid}/fd").iterdir()}
    assert not {f"socket:[{inode}]" for inode in inodes} & held
    if os.getuid() == 0:  # only root can switch to another user
        code = f"import os, socket; os.setuid(65534); socket.socket(socket.AF_UNIX).connect({str(path)!r})"
        tried = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert "PermissionError" in tried.stderr


def test_prompts_are_not_logged_and_a_stop_completes_answers(
    served: tuple[Supervisor, Ledger, RunningEngine],
) -> None:
    """By default vLLM drops answers in progress at SIGTERM."""
    engine = served[2]
    threads, got = streams_begun(engine, 3, 120)
    assert count_connections(engine.url) == 3
    os.kill(engine.identity.pid, signal.SIGTERM)
    for thread in threads:
        thread.join()
    assert got == [True, True, True]
    assert MARKER not in engine.log.read_text()

"""A release's weights behind vLLM itself, through the supervisor. Needs the environment that `make setup-vllm` makes."""

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
from fine_tune_assets.engines.addresses import open_connections, socket_of
from fine_tune_assets.engines.running_server import RunningEngine, adopt_engine
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.encryption import KEY_NAME
from fine_tune_assets.ledger.serving.deployments import find_deployment, open_engine_key, want_release
from fine_tune_assets.serving.reconciliation import Pace
from fine_tune_assets.serving.supervisor import Supervisor
from fine_tune_assets_tests.changed_settings import changed
from fine_tune_assets_tests.ledger.fresh import fresh_ledger
from fine_tune_assets_tests.serving.story_streams import MARKER, streams_begun
from fine_tune_assets_tests.serving.ticking import tick_until
from fine_tune_assets_tests.serving.tiny import put_release

PYTHON = load_settings().vllm_interpreter
pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("serving"),
    pytest.mark.skipif(not PYTHON.is_file(), reason="vLLM is not installed: make setup-vllm"),
]
OPEN_ROUTES = ("/metrics", "/version", "/load", "/ping")
"""That vLLM answers without a key (measured, 0.32)."""


def _release(settings: Settings, ledger: Ledger) -> str:
    go_offline()
    from fine_tune_assets.training.base_models.registry import import_bundled_model

    base = import_bundled_model(settings.data_dir / "imported")
    contract = read_prompt_contract(base, "You are brief.")
    return put_release(settings, ledger, contract, lambda folder: base.rename(folder / WEIGHTS), engine="vllm")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Supervisor, Ledger, RunningEngine]]:
    """One start for all: it takes half a minute where nothing else runs."""
    settings = changed(
        Settings(data_dir=tmp_path_factory.mktemp("vllm")), vllm={"python": str(PYTHON), "cache_gb": 1}, threads=1
    )
    ledger = fresh_ledger(settings.database_url)
    supervisor = Supervisor(settings, ledger, Pace(warm_up_seconds=300, stop_grace_seconds=60))
    try:
        name = want_release(ledger, _release(settings, ledger)).deployment_id
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


def test_its_open_routes_are_reached_by_nobody_else(served: tuple[Supervisor, Ledger, RunningEngine]) -> None:
    """They ask for no key: so no other user may come as far as its socket, and there is no port."""
    engine = served[2]
    path = socket_of(engine.url)
    assert path is not None
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://engine") as own:
        assert [own.get(route).status_code for route in OPEN_ROUTES] == [200] * len(OPEN_ROUTES)
        assert own.get("/v1/models").status_code == 401
    inodes = {line.split()[9] for line in Path("/proc/net/tcp").read_text().splitlines()[1:] if line.split()[3] == "0A"}
    held = {os.readlink(entry) for entry in Path(f"/proc/{engine.identity.pid}/fd").iterdir()}
    assert not {f"socket:[{inode}]" for inode in inodes} & held
    if os.getuid() == 0:  # only root can try as somebody else
        code = f"import os, socket; os.setuid(65534); socket.socket(socket.AF_UNIX).connect({str(path)!r})"
        tried = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert "PermissionError" in tried.stderr


def test_what_is_asked_is_not_in_its_log_and_its_end_cuts_nobody_off(
    served: tuple[Supervisor, Ledger, RunningEngine],
) -> None:
    """By default it strands who is being answered at SIGTERM. Connections held tell how many are."""
    engine = served[2]
    threads, got = streams_begun(engine, 3, 120)
    assert open_connections(engine.url) == 3
    os.kill(engine.identity.pid, signal.SIGTERM)
    for thread in threads:
        thread.join()
    assert got == [True, True, True]
    assert MARKER not in engine.log.read_text()

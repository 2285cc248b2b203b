"""The bundled llama.cpp server: answers, isolation and shutdown."""

import os
import signal
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from fine_tune_assets.engines.listen_addresses import count_connections, new_socket_path, open_client, socket_path
from fine_tune_assets.engines.llama_cpp import start_llama_cpp
from fine_tune_assets.engines.running_server import (
    CONFIG_FILE,
    KEY_FILE,
    LOG_FILE,
    PROCESS_FILE,
    EngineError,
    RunningEngine,
    adopt_engine,
    is_healthy,
    stop_engine,
    stop_recorded_engine,
    wait_until_healthy,
    warm_up,
)
from fine_tune_assets_tests.serving.story_streams import MARKER, streams_begun
from fine_tune_assets_tests.serving.tiny_releases import held_connection, tiny_gguf

MISLEADING = {
    "HOST": "0.0.0.0", "PORT": "1", "API_KEY": "known", "LLAMA_API_KEY": "known", "LLAMA_ARG_HOST": "0.0.0.0",
    "LLAMA_ARG_TOOLS": "all", "LLAMA_ARG_LORA": "/tmp/other", "HF_MODEL_REPO_ID": "somebody/else",
}  # fmt: skip
CLOSED = (
    "/props", "/slots", "/metrics", "/models", "/v1/models", "/tools", "/lora-adapters", "/tokenize", "/completion",
    "/v1/chat/completions", "/cors-proxy", "/models/load", "/infill", "/embedding", "/apply-template", "/slots/0",
)  # fmt: skip


def start_engine(folder: Path) -> RunningEngine:
    """An engine for users, started with variables that would expose it or change its answers."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in MISLEADING.items():
            patch.setenv(name, value)
        engine = start_llama_cpp(
            tiny_gguf(),
            "r-1",
            folder / "engine",
            threads=1,
            die_with_parent=False,
            parallel=2,
            context_tokens=512,
            socket=new_socket_path(folder / "s"),
        )
    try:
        wait_until_healthy(engine, timeout_seconds=60)
    except EngineError:
        stop_engine(engine, grace_seconds=5)
        raise
    return engine


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEngine]:
    running = start_engine(tmp_path_factory.mktemp("engine"))
    yield running
    stop_engine(running, grace_seconds=5)


def test_it_answers_and_warms_up(engine: RunningEngine) -> None:
    """A warm-up runs a forward pass; a health check does not."""
    assert is_healthy(engine)
    warm_up(engine, "You are brief.", timeout_seconds=60)


def test_two_requests_are_answered_concurrently_while_it_reports_its_health(engine: RunningEngine) -> None:
    """Both streams begin before either ends, so no request queues. The supervisor checks health all the time."""
    threads, results = streams_begun(engine, 2, 200)
    assert results == []
    assert count_connections(engine.url) == 2
    assert is_healthy(engine)
    for thread in threads:
        thread.join()
    assert results == [True, True]


@pytest.mark.parametrize("path", CLOSED)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_without_its_key_every_endpoint_is_refused(engine: RunningEngine, path: str, method: str) -> None:
    """Other endpoints change the served model, expose the prompts of other clients, or start programs."""
    socket = socket_path(engine.url)
    for headers in ({}, {"Authorization": "Bearer known"}, {"X-Api-Key": "known"}):
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(socket)), base_url="http://engine") as client:
            assert client.request(method, path, headers=headers).status_code in (401, 404, 415)


@pytest.mark.parametrize("path", ["/slots", "/tools", "/metrics", "/cors-proxy"])
def test_unneeded_endpoints_are_off_even_with_the_key(engine: RunningEngine, path: str) -> None:
    """A caller who tricks the gateway into requesting another path must not read other users' prompts."""
    with open_client(engine.url, engine.api_key, 10) as client:
        assert client.get(f"http://engine{path}").status_code in (403, 404, 501)


def test_it_listens_on_no_port(engine: RunningEngine) -> None:
    inodes = {line.split()[9] for line in Path("/proc/net/tcp").read_text().splitlines()[1:] if line.split()[3] == "0A"}
    open_files = {os.readlink(entry) for entry in Path(f"/proc/{engine.identity.pid}/fd").iterdir()}
    assert not {f"socket:[{inode}]" for inode in inodes} & open_files


def test_the_environment_cannot_change_what_a_verified_release_answers(engine: RunningEngine) -> None:
    names = {line.partition("=")[0] for line in _environment_of(engine)}
    assert "PATH" in names
    assert not names & set(MISLEADING)


def test_its_key_is_in_a_private_file_and_not_on_the_command_line(engine: RunningEngine) -> None:
    """The command line of a process is visible to every user."""
    command = Path(f"/proc/{engine.identity.pid}/cmdline").read_text()
    assert engine.api_key not in command
    assert engine.api_key not in engine.log.read_text()
    for name in (CONFIG_FILE, KEY_FILE, LOG_FILE):
        assert stat.S_IMODE((engine.folder / name).stat().st_mode) == 0o600


def test_it_can_be_adopted_from_its_folder(engine: RunningEngine) -> None:
    """A restarted supervisor takes over the engines that serve users."""
    adopted = adopt_engine(engine.folder)
    assert adopted is not None
    assert (adopted.url, adopted.api_key, adopted.alias) == (engine.url, engine.api_key, "r-1")
    assert is_healthy(adopted)


def test_its_log_contains_no_prompt(engine: RunningEngine) -> None:
    threads, results = streams_begun(engine, 1, 5)
    threads[0].join()
    assert results == [True]
    assert engine.log.read_text()
    assert MARKER not in engine.log.read_text()


@pytest.mark.parametrize("is_own", [True, False])
def test_stopping_it_interrupts_no_answer(tmp_path: Path, is_own: bool) -> None:
    """SIGTERM would interrupt it: it is sent after the last answer, by the process that started or adopted the engine."""
    engine = start_engine(tmp_path)
    threads, results = streams_begun(engine, 2, 100)
    if is_own:
        stop_engine(engine, grace_seconds=5)
    else:
        stop_recorded_engine(engine.folder, grace_seconds=5)
    for thread in threads:
        thread.join()
    assert results == [True, True]
    assert not engine.is_alive


def test_a_hung_engine_is_stopped_without_draining(tmp_path: Path) -> None:
    """Clients of a hung engine would wait in vain."""
    engine = start_engine(tmp_path)
    os.kill(engine.identity.pid, signal.SIGSTOP)
    with held_connection(engine):
        start = time.monotonic()
        stop_engine(engine, grace_seconds=1, kill=True)
        assert time.monotonic() - start < 30
    assert not engine.is_alive


def test_its_threads_do_not_spin_against_those_of_another_engine(
    tmp_path: Path, engine: RunningEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two engines share the cores during a switch; OpenMP's default nearly stalls both. An operator's setting wins."""
    assert "GOMP_SPINCOUNT=300" in _environment_of(engine)
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")  # libgomp ignores it if GOMP_SPINCOUNT is set
    other = start_engine(tmp_path)
    try:
        assert "OMP_WAIT_POLICY=passive" in _environment_of(other)
        assert "GOMP_SPINCOUNT=300" not in _environment_of(other)
    finally:
        stop_engine(other, grace_seconds=5)


def test_an_engine_that_exits_while_starting_fails_at_once_and_names_its_log(tmp_path: Path) -> None:
    """It must not wait ten minutes for a file that is not a model."""
    model = tmp_path / "model.gguf"
    model.write_bytes(b"not a model")
    engine = start_llama_cpp(model, "r-2", tmp_path / "engine", threads=1, die_with_parent=True)
    with pytest.raises(EngineError, match=r"r-2.*engine\.log"):
        wait_until_healthy(engine, timeout_seconds=60)
    assert not engine.is_alive
    assert "model.gguf" in (tmp_path / "engine" / LOG_FILE).read_text()
    assert adopt_engine(tmp_path / "engine") is None
    stop_engine(engine, grace_seconds=1)


def test_a_slow_or_hung_engine_is_killed(tmp_path: Path) -> None:
    """A stopped process does not receive SIGTERM; the process and its key must still be removed."""
    engine = start_llama_cpp(tiny_gguf(), "r-3", tmp_path, threads=1, die_with_parent=True)
    os.kill(engine.identity.pid, signal.SIGSTOP)
    with pytest.raises(EngineError, match=r"r-3.* 0\.2 s"):
        wait_until_healthy(engine, timeout_seconds=0.2)
    stop_engine(engine, grace_seconds=0.5)
    assert not engine.is_alive
    for name in (CONFIG_FILE, KEY_FILE, PROCESS_FILE):
        assert not (tmp_path / name).exists()


def _environment_of(engine: RunningEngine) -> list[str]:
    return Path(f"/proc/{engine.identity.pid}/environ").read_text().split("\0")

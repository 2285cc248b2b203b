"""The bundled llama.cpp server itself: what it answers, what it keeps to itself, and how it ends."""

import os
import signal
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from fine_tune_assets.engines.addresses import new_socket, open_client, open_connections, socket_of
from fine_tune_assets.engines.llama_cpp import start_llama_cpp
from fine_tune_assets.engines.running_server import (
    CONFIG,
    KEY,
    LOG,
    PROCESS,
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
from fine_tune_assets_tests.serving.tiny import held_connection, tiny_gguf

MISLEADING = {
    "HOST": "0.0.0.0", "PORT": "1", "API_KEY": "known", "LLAMA_API_KEY": "known", "LLAMA_ARG_HOST": "0.0.0.0",
    "LLAMA_ARG_TOOLS": "all", "LLAMA_ARG_LORA": "/tmp/other", "HF_MODEL_REPO_ID": "somebody/else",
}  # fmt: skip
CLOSED = (
    "/props", "/slots", "/metrics", "/models", "/v1/models", "/tools", "/lora-adapters", "/tokenize", "/completion",
    "/v1/chat/completions", "/cors-proxy", "/models/load", "/infill", "/embedding", "/apply-template", "/slots/0",
)  # fmt: skip


def started(folder: Path) -> RunningEngine:
    """For users, with variables in the environment that would open it to everybody or change what it answers."""
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
            socket=new_socket(folder / "s"),
        )
    try:
        wait_until_healthy(engine, timeout_seconds=60)
    except EngineError:
        stop_engine(engine, grace_seconds=5)
        raise
    return engine


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEngine]:
    running = started(tmp_path_factory.mktemp("engine"))
    yield running
    stop_engine(running, grace_seconds=5)


def test_it_answers_and_is_warm(engine: RunningEngine) -> None:
    """Warm is more than healthy: the weights have been through the processor once."""
    assert is_healthy(engine)
    warm_up(engine, "You are brief.", timeout_seconds=60)


def test_two_requests_are_answered_together_and_it_reports_its_health_meanwhile(engine: RunningEngine) -> None:
    """Each stream has begun before one has ended: no request waits in line. The supervisor checks health all the time."""
    threads, got = streams_begun(engine, 2, 200)
    assert got == []
    assert open_connections(engine.url) == 2
    assert is_healthy(engine)
    for thread in threads:
        thread.join()
    assert got == [True, True]


@pytest.mark.parametrize("path", CLOSED)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_without_its_key_it_tells_and_does_nothing(engine: RunningEngine, path: str, method: str) -> None:
    """It can do much more than answer: change what it serves, say what others ask, start programs."""
    socket = socket_of(engine.url)
    for headers in ({}, {"Authorization": "Bearer known"}, {"X-Api-Key": "known"}):
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(socket)), base_url="http://engine") as stranger:
            assert stranger.request(method, path, headers=headers).status_code in (401, 404, 415)


@pytest.mark.parametrize("path", ["/slots", "/tools", "/metrics", "/cors-proxy"])
def test_what_nobody_needs_is_not_there_for_the_gateway_either(engine: RunningEngine, path: str) -> None:
    """A caller who found a way to have the gateway ask for a path of theirs would read other people's prompts."""
    with open_client(engine.url, engine.api_key, 10) as client:
        assert client.get(f"http://engine{path}").status_code in (403, 404, 501)


def test_it_listens_on_no_port(engine: RunningEngine) -> None:
    inodes = {line.split()[9] for line in Path("/proc/net/tcp").read_text().splitlines()[1:] if line.split()[3] == "0A"}
    held = {os.readlink(entry) for entry in Path(f"/proc/{engine.identity.pid}/fd").iterdir()}
    assert not {f"socket:[{inode}]" for inode in inodes} & held


def test_the_environment_cannot_change_what_a_verified_release_answers(engine: RunningEngine) -> None:
    names = {line.partition("=")[0] for line in _environment_of(engine)}
    assert "PATH" in names
    assert not names & set(MISLEADING)


def test_its_key_is_in_a_private_file_and_not_on_the_command_line(engine: RunningEngine) -> None:
    """The command line of a process is visible to every user."""
    command = Path(f"/proc/{engine.identity.pid}/cmdline").read_text()
    assert engine.api_key not in command
    assert engine.api_key not in engine.log.read_text()
    for name in (CONFIG, KEY, LOG):
        assert stat.S_IMODE((engine.folder / name).stat().st_mode) == 0o600


def test_it_is_found_again_by_its_folder(engine: RunningEngine) -> None:
    """A restarted supervisor takes over the engines that answer users now."""
    adopted = adopt_engine(engine.folder)
    assert adopted is not None
    assert (adopted.url, adopted.api_key, adopted.alias) == (engine.url, engine.api_key, "r-1")
    assert is_healthy(adopted)


def test_nothing_of_what_was_asked_is_in_its_log(engine: RunningEngine) -> None:
    threads, got = streams_begun(engine, 1, 5)
    threads[0].join()
    assert got == [True]
    assert engine.log.read_text()
    assert MARKER not in engine.log.read_text()


@pytest.mark.parametrize("is_own", [True, False])
def test_stopping_it_cuts_off_no_answer(tmp_path: Path, is_own: bool) -> None:
    """SIGTERM would: it is sent after the last answer, by whoever started the engine or found it."""
    engine = started(tmp_path)
    threads, got = streams_begun(engine, 2, 100)
    if is_own:
        stop_engine(engine, grace_seconds=5)
    else:
        stop_recorded_engine(engine.folder, grace_seconds=5)
    for thread in threads:
        thread.join()
    assert got == [True, True]
    assert not engine.is_alive


def test_one_that_hangs_is_not_waited_for(tmp_path: Path) -> None:
    """It answers nobody: whoever is connected would wait for nothing."""
    engine = started(tmp_path)
    os.kill(engine.identity.pid, signal.SIGSTOP)
    with held_connection(engine):
        began = time.monotonic()
        stop_engine(engine, grace_seconds=1, is_hung=True)
        assert time.monotonic() - began < 30
    assert not engine.is_alive


def test_its_threads_do_not_spin_against_those_of_another_engine(
    tmp_path: Path, engine: RunningEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """During a switch two run on the same cores: with OpenMP's default both nearly stood still. An operator's setting wins."""
    assert "GOMP_SPINCOUNT=300" in _environment_of(engine)
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")  # which libgomp ignores beside a count
    other = started(tmp_path)
    try:
        assert "OMP_WAIT_POLICY=passive" in _environment_of(other)
        assert "GOMP_SPINCOUNT=300" not in _environment_of(other)
    finally:
        stop_engine(other, grace_seconds=5)


def test_one_that_dies_while_starting_says_so_with_its_log(tmp_path: Path) -> None:
    """Waiting ten minutes for a file that is no model helps nobody."""
    model = tmp_path / "model.gguf"
    model.write_bytes(b"not a model")
    engine = start_llama_cpp(model, "r-2", tmp_path / "engine", threads=1, die_with_parent=True)
    with pytest.raises(EngineError, match=r"ended while starting.*engine\.log"):
        wait_until_healthy(engine, timeout_seconds=60)
    assert "model.gguf" in (tmp_path / "engine" / LOG).read_text()
    assert adopt_engine(tmp_path / "engine") is None
    stop_engine(engine, grace_seconds=1)


def test_one_that_takes_too_long_and_one_that_hangs_are_ended(tmp_path: Path) -> None:
    """A stopped process does not receive SIGTERM; it must be gone all the same, and its key with it."""
    engine = start_llama_cpp(tiny_gguf(), "r-3", tmp_path, threads=1, die_with_parent=True)
    os.kill(engine.identity.pid, signal.SIGSTOP)
    with pytest.raises(EngineError, match="not up after"):
        wait_until_healthy(engine, timeout_seconds=0.2)
    stop_engine(engine, grace_seconds=0.5)
    assert not engine.is_alive
    for name in (CONFIG, KEY, PROCESS):
        assert not (tmp_path / name).exists()


def _environment_of(engine: RunningEngine) -> list[str]:
    return Path(f"/proc/{engine.identity.pid}/environ").read_text().split("\0")

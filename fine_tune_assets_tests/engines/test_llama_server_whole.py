"""llama.cpp's own server itself, as `make setup-llama-server` builds it: what it answers, and what it keeps to itself."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from fine_tune_assets.engines.addresses import new_socket, open_client, open_connections, socket_of
from fine_tune_assets.engines.llama_server import start_llama_server
from fine_tune_assets.engines.running import (
    EngineError,
    RunningEngine,
    is_healthy,
    stop_engine,
    stop_recorded_engine,
    wait_until_healthy,
    warm_up,
)
from fine_tune_assets_tests.serving.story_streams import MARKER, streams_begun
from fine_tune_assets_tests.serving.tiny import built_llama_server, held_connection, tiny_gguf

pytestmark = pytest.mark.slow
MISLEADING = {
    "LLAMA_ARG_TOOLS": "all",
    "LLAMA_ARG_HOST": "0.0.0.0",
    "LLAMA_ARG_LORA": "/tmp/other",
    "LLAMA_API_KEY": "known",
}
CLOSED = (
    "/props", "/slots", "/metrics", "/models", "/v1/models", "/tools", "/lora-adapters", "/tokenize", "/completion",
    "/v1/chat/completions", "/cors-proxy", "/models/load", "/infill", "/embedding", "/apply-template", "/slots/0",
)  # fmt: skip


def started(folder: Path) -> RunningEngine:
    """With variables in the environment that would open it to everybody, or let it start programs."""
    program, socket = built_llama_server(), new_socket(folder / "s")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in MISLEADING.items():
            patch.setenv(name, value)
        engine = start_llama_server(
            program, tiny_gguf(), "r-1", folder / "engine", socket=socket, threads=1, parallel=2, context_tokens=512
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
    assert is_healthy(engine)
    warm_up(engine, "You are brief.", timeout_seconds=60)


def test_two_are_answered_at_once_and_it_says_that_it_is_well_meanwhile(engine: RunningEngine) -> None:
    """Each stream has begun before one has ended: nobody waits in line. The supervisor asks how it is all the time."""
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
            assert stranger.request(method, path, headers=headers).status_code in (401, 404)


@pytest.mark.parametrize("path", ["/slots", "/tools", "/metrics", "/cors-proxy"])
def test_what_nobody_needs_is_not_there_for_the_gateway_either(engine: RunningEngine, path: str) -> None:
    """A caller who found a way to have the gateway ask for a path of theirs would read other people's prompts."""
    with open_client(engine.url, engine.api_key, 10) as client:
        assert client.get(f"http://engine{path}").status_code in (403, 404, 501)


def test_it_listens_on_no_port(engine: RunningEngine) -> None:
    inodes = {line.split()[9] for line in Path("/proc/net/tcp").read_text().splitlines()[1:] if line.split()[3] == "0A"}
    held = {os.readlink(entry) for entry in Path(f"/proc/{engine.identity.pid}/fd").iterdir()}
    assert not {f"socket:[{inode}]" for inode in inodes} & held


def test_nothing_of_what_was_asked_is_in_its_log(engine: RunningEngine) -> None:
    threads, got = streams_begun(engine, 1, 5)
    threads[0].join()
    assert got == [True]
    assert engine.log.read_text()
    assert MARKER not in engine.log.read_text()


@pytest.mark.parametrize("is_own", [True, False])
def test_its_end_cuts_nobody_off(tmp_path: Path, is_own: bool) -> None:
    """At SIGTERM it would: it is stopped when its last answer is out, by whoever started it or found it."""
    engine = started(tmp_path)
    threads, got = streams_begun(engine, 2, 200)
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


def test_its_threads_do_not_spin_against_those_of_another_one(
    tmp_path: Path, engine: RunningEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """During a switch two are there on the same cores: with OpenMP's own setting both nearly stood still. An operator's wins."""
    assert "GOMP_SPINCOUNT=300" in _environment_of(engine)
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")  # which libgomp would not look at beside a count
    other = started(tmp_path)
    try:
        assert "OMP_WAIT_POLICY=passive" in _environment_of(other)
        assert "GOMP_SPINCOUNT=300" not in _environment_of(other)
    finally:
        stop_engine(other, grace_seconds=5)


def _environment_of(engine: RunningEngine) -> list[str]:
    return Path(f"/proc/{engine.identity.pid}/environ").read_text().split("\0")

"""Adapter servers on one vLLM process: who starts it, who stops it, and what each server passes on.

A stand-in answers vLLM's routes; `serving/test_shared_vllm.py` uses the real one.
"""

import json
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import psutil
import pytest

from fine_tune_assets.core.files import file_lock
from fine_tune_assets.core.settings import VllmSettings
from fine_tune_assets.engines.adapter_server import start_adapter_server
from fine_tune_assets.engines.listen_addresses import count_connections, new_socket_path, open_client
from fine_tune_assets.engines.processes import is_alive, read_identity
from fine_tune_assets.engines.running_server import (
    LOG_FILE,
    PROCESS_FILE,
    EngineError,
    RunningEngine,
    adopt_engine,
    is_healthy,
    stop_engine,
    stop_recorded_engine,
    wait_until_healthy,
)
from fine_tune_assets.engines.shared_vllm import SharedEngine, stop_if_hung, stop_unused
from fine_tune_assets_tests.serving.load import wait

STAND_IN = Path(__file__).with_name("vllm_stand_in.py")


@pytest.fixture
def shared(short_path: Path) -> Iterator[SharedEngine]:
    python = short_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} {STAND_IN} "$@"\n')
    python.chmod(0o700)
    base = short_path / "base"
    base.mkdir()
    for name in ("model.safetensors", "config.json"):
        (base / name).write_text(f"{name} of the base model")
    root = short_path / "shared"
    yield SharedEngine(root / "abc", root, base, python, 64, VllmSettings(max_lora_rank=8, max_adapters=3))
    for folder in short_path.glob("run-*"):  # of a failed test
        stop_recorded_engine(folder, 5)
    stop_unused(root)


def _adapter(folder: Path, rank: int = 8) -> Path:
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"r": rank}))
    (folder / "adapter_model.safetensors").write_text("adapter")
    (folder / "config.json").write_text("{}")
    return folder


def _start(shared: SharedEngine, name: str) -> RunningEngine:
    place = shared.folder.parent.parent
    adapter = place / name
    if not adapter.exists():
        _adapter(adapter)
    engine = start_adapter_server(shared, adapter, name, place / f"run-{name}", new_socket_path(place / "sockets"))
    wait_until_healthy(engine, 60)
    return engine


def _path_of_answer(engine: RunningEngine) -> str:
    with open_client(engine.url, engine.api_key, 30) as client:
        reply = client.post("chat/completions", json={"model": engine.alias, "messages": []})
        return Path(reply.json()["path"]).name


def _pid(shared: SharedEngine) -> int:
    identity = read_identity(shared.folder / PROCESS_FILE)
    assert identity is not None
    assert is_alive(identity)
    return identity.pid


def _count_starts(shared: SharedEngine) -> int:
    return (shared.folder / LOG_FILE).read_text().count("--enable-lora")


def test_adapters_share_a_process_that_ends_with_the_last(shared: SharedEngine) -> None:
    """The base model is in memory once, and not at all when no line uses it."""
    one, two = _start(shared, "one"), _start(shared, "two")
    pid = _pid(shared)
    assert (_path_of_answer(one), _path_of_answer(two)) == ("one", "two")
    assert one.computing_process.pid == two.computing_process.pid == pid
    stop_engine(one, 30)
    assert _path_of_answer(two) == "two"
    assert _pid(shared) == pid
    stop_engine(two, 30)
    assert not (shared.folder / PROCESS_FILE).exists()
    assert _count_starts(shared) == 1


def test_vllm_gets_the_base_weights_with_the_configuration_of_the_release(shared: SharedEngine) -> None:
    """The prompt template and stop tokens of the release decide, not those in the base model's folder."""
    engine = _start(shared, "one")
    assert (shared.folder / "model" / "model.safetensors").read_text() == "model.safetensors of the base model"
    assert (shared.folder / "model" / "config.json").read_text() == "{}"
    assert not (shared.folder / "model" / "adapter_config.json").exists()
    command = json.loads((shared.folder / LOG_FILE).read_text().splitlines()[0])
    assert command[command.index("--max-loras") + 1] == "3"
    assert command[command.index("--max-lora-rank") + 1] == "8"
    stop_engine(engine, 30)


def test_only_requests_for_the_own_adapter_with_the_own_key_are_passed_on(shared: SharedEngine) -> None:
    """vLLM itself answers for every adapter, for the base model, and loads others on request."""
    one, two = _start(shared, "one"), _start(shared, "two")
    with open_client(one.url, one.api_key, 30) as client:
        assert [model["id"] for model in client.get("models").json()["data"]] == ["one"]
        for body in ({"model": "two"}, {"model": "base"}, {}, []):
            assert client.post("chat/completions", json=body).status_code == 404
        assert client.post("load_lora_adapter", json={}).status_code == 404
        with client.stream("POST", "chat/completions", json={"model": "one", "stream": True}) as reply:
            assert reply.headers["content-type"].startswith("text/event-stream")
            assert "".join(reply.iter_text()).endswith("data: [DONE]\n\n")
    with open_client(one.url, two.api_key, 30) as client:
        assert client.get("models").status_code == 401
        assert client.post("chat/completions", json={"model": "one"}).status_code == 401
    for engine in (one, two):
        stop_engine(engine, 30)


def test_a_request_that_ends_vllm_gets_no_answer(shared: SharedEngine) -> None:
    """The gateway sends a request to another engine after an error, but not if the engine closed the connection."""
    one = _start(shared, "one")
    with open_client(one.url, one.api_key, 30) as client, pytest.raises(httpx.RemoteProtocolError):
        client.post("chat/completions", json={"model": "one", "crash": True})
    wait(lambda: not one.is_alive, 30)


def test_vllm_stops_generating_when_the_caller_hangs_up(shared: SharedEngine) -> None:
    """Otherwise abandoned requests would slow down the others."""
    one = _start(shared, "one")
    engine = adopt_engine(shared.folder)
    assert engine is not None
    body = {"model": "one", "seconds": 60}
    with open_client(one.url, one.api_key, 2) as client, pytest.raises(httpx.ReadTimeout):
        client.post("chat/completions", json=body)
    wait(lambda: count_connections(engine.url) == 0, 20)
    stop_engine(one, 30)


def test_the_adapter_of_a_killed_server_can_be_served_again(shared: SharedEngine) -> None:
    """vLLM refuses to load a name twice, and the killed server had no time to unload it."""
    one, two = _start(shared, "one"), _start(shared, "two")
    os.kill(one.identity.pid, signal.SIGKILL)
    wait(lambda: not one.is_alive, 10)
    again = _start(shared, "one")
    assert _path_of_answer(again) == "one"
    for engine in (again, two):
        stop_engine(engine, 30)


def test_a_release_that_two_deployments_serve_is_loaded_once(shared: SharedEngine) -> None:
    """While a release replaces itself, both servers answer with it; the first to stop must not unload it."""
    one = _start(shared, "one")
    place = shared.folder.parent.parent
    same = start_adapter_server(shared, place / "one", "one", place / "run-same", new_socket_path(place / "sockets"))
    wait_until_healthy(same, 60)
    stop_engine(one, 30)
    assert _path_of_answer(same) == "one"
    stop_engine(same, 30)


def test_servers_end_with_vllm_and_start_it_again(shared: SharedEngine) -> None:
    """The supervisor restarts an engine that has ended, not one that answers with errors."""
    one, two = _start(shared, "one"), _start(shared, "two")
    os.kill(_pid(shared), signal.SIGKILL)
    wait(lambda: not one.is_alive and not two.is_alive, 30)
    again = _start(shared, "one")
    assert _path_of_answer(again) == "one"
    stop_engine(again, 30)
    assert _count_starts(shared) == 2


def test_worker_processes_of_a_dead_vllm_end_before_the_next_start(shared: SharedEngine) -> None:
    """They hold its memory. All servers are dead and can't end them."""
    one = _start(shared, "one")
    pid = _pid(shared)
    (worker,) = psutil.Process(pid).children()
    for killed in (one.identity.pid, pid):
        os.kill(killed, signal.SIGKILL)
    wait(lambda: not one.is_alive, 10)
    again = _start(shared, "one")
    assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE
    stop_engine(again, 30)


def test_only_a_process_that_hangs_itself_is_stopped(shared: SharedEngine) -> None:
    """If one adapter's server hangs, the other lines must not be interrupted."""
    one = _start(shared, "one")
    process = one.computing_process
    os.kill(one.identity.pid, signal.SIGSTOP)
    stop_if_hung(shared.folder, "one")
    assert is_alive(process)
    os.kill(process.pid, signal.SIGSTOP)
    stop_if_hung(shared.folder, "one")
    wait(lambda: not is_alive(process), 10)
    os.kill(one.identity.pid, signal.SIGCONT)
    stop_engine(one, 30)


def test_a_line_does_not_wait_for_the_lock_of_another(shared: SharedEngine) -> None:
    """A supervisor that waits while another line loads or stops could not look after its own engine."""
    one = _start(shared, "one")
    os.kill(one.identity.pid, signal.SIGKILL)
    wait(lambda: not one.is_alive, 10)
    with file_lock(shared.folder / "lock"):
        stop_unused(shared.folder.parent)
        assert _pid(shared)
    stop_unused(shared.folder.parent)
    assert not (shared.folder / PROCESS_FILE).exists()


def test_vllm_is_stopped_if_all_servers_were_killed(shared: SharedEngine) -> None:
    """Nothing else would free its memory."""
    one = _start(shared, "one")
    process = one.computing_process
    stop_unused(shared.folder.parent)
    assert is_alive(process)
    os.kill(one.identity.pid, signal.SIGKILL)
    wait(lambda: not one.is_alive, 10)
    stop_unused(shared.folder.parent)
    assert not is_alive(process)


def test_an_adapter_that_vllm_refuses_ends_its_server_alone(shared: SharedEngine) -> None:
    one = _start(shared, "one")
    place = shared.folder.parent.parent
    broken = _adapter(place / "broken")
    engine = start_adapter_server(shared, broken, "bad", place / "run-bad", new_socket_path(place / "sockets"))
    wait(lambda: not engine.is_alive, 30)
    assert not is_healthy(engine)
    assert _path_of_answer(one) == "one"
    stop_engine(one, 30)


def test_a_rank_above_the_limit_and_a_missing_vllm_are_refused(shared: SharedEngine) -> None:
    """Before a process starts, so that the deployment fails with the reason."""
    place = shared.folder.parent.parent
    socket = new_socket_path(place / "sockets")
    with pytest.raises(EngineError, match="FINE_TUNE_VLLM_MAX_LORA_RANK=9"):
        start_adapter_server(shared, _adapter(place / "large", rank=9), "x", place / "run", socket)
    missing, small = replace(shared, python=place / "none"), _adapter(place / "small")
    with pytest.raises(EngineError, match="FINE_TUNE_VLLM_PYTHON"):
        start_adapter_server(missing, small, "x", place / "run", socket)

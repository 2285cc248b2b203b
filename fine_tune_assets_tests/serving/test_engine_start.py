"""Which engine program is started, and whether it fits into memory."""

import os
import sys
import threading
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from fine_tune_assets.core.releases.release_folders import MODEL, ReleaseFolder
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.engines.gguf_header import kv_cache_bytes_per_token, read_gguf_header
from fine_tune_assets.engines.listen_addresses import AddressError, new_socket_path
from fine_tune_assets.engines.llama_cpp import llama_server_command, start_llama_cpp
from fine_tune_assets.engines.running_server import (
    SHUTDOWN_SECONDS,
    EngineError,
    RunningEngine,
    adopt_engine,
    stop_engine,
    stop_recorded_engine,
)
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.serving.deployments import find_live_deployment, record_state, request_deployment
from fine_tune_assets.ledger.serving.rollbacks import find_rollback_target
from fine_tune_assets.serving.engine_start import (
    GIB,
    MemoryEstimate,
    configured_program,
    estimate_memory,
    explain_shortfall,
    running_program,
)
from fine_tune_assets.serving.reconciliation import SupervisorTimings
from fine_tune_assets.serving.rollout import (
    ServingError,
    compute_retention,
    deploy_release,
    describe_rollback,
    wait_until_ready,
)
from fine_tune_assets.serving.supervisor import Supervisor
from fine_tune_assets_tests.changed_settings import changed
from fine_tune_assets_tests.ledger.ledger_rows import deployment_of
from fine_tune_assets_tests.serving.load import wait
from fine_tune_assets_tests.serving.supervisor_ticks import tick_until
from fine_tune_assets_tests.serving.tiny_releases import build_release, held_connection, make_ready, switched, tiny_gguf


def test_llama_server_hides_prompts_and_reads_its_key_from_a_file() -> None:
    """Other users can read command lines, and its UI and slots would show prompts."""
    options = {"model": "m", "host": "/run/e.sock", "port": 0, "api-key-file": "/run/key", "lora": ""}
    command = llama_server_command(Path("/x"), options)
    assert {"--no-ui", "--no-slots", "--offline"} <= set(command)
    assert not {"--metrics", "--port", "--lora"} & set(command)
    assert command[command.index("--api-key-file") + 1] == "/run/key"
    assert command[command.index("--host") + 1] == "/run/e.sock"


def test_the_engine_program_is_described_with_its_concurrency(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Operators need to know whether requests are queued."""
    monkeypatch.setenv("PATH", str(tmp_path))
    settings = Settings()
    assert "llama.cpp's server answers 5 requests" in configured_program("llama_cpp", settings).description
    assert "as many requests as fit" in configured_program("vllm", settings).description
    program = tmp_path / "llama-server"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o700)
    assert "llama.cpp's server" in configured_program("llama_cpp", settings).description  # PATH is not searched
    own = configured_program("llama_cpp", changed(settings, llama={"server": str(program), "parallel": 2}))
    assert "llama-server answers 3 requests" in own.description
    with pytest.raises(EngineError, match="FINE_TUNE_LLAMA_SERVER"):
        configured_program("llama_cpp", changed(settings, llama={"server": str(tmp_path / "none")}))
    with pytest.raises(EngineError, match="tgi"):
        configured_program("tgi", settings)


def test_the_running_program_is_described_and_keeps_its_shutdown_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The calling process may have other settings and another PATH than the supervisor."""
    program, folder = tmp_path / "any-server", tmp_path / "engine"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o700)
    monkeypatch.setenv("PATH", "/bin:/usr/bin")
    socket = new_socket_path(tmp_path / "s")
    engine = _own_program(program, folder, socket, parallel=3)
    try:
        assert "llama-server answers 3 requests at once" in running_program(folder, "llama_cpp", Settings()).description
        adopted = adopt_engine(folder)
        assert adopted is not None
        assert (engine.shutdown_seconds, adopted.shutdown_seconds) == (SHUTDOWN_SECONDS, SHUTDOWN_SECONDS)
    finally:
        stop_engine(engine, 1, kill=True)
    assert "llama.cpp's server" in running_program(folder, "llama_cpp", Settings()).description


def _own_program(program: Path, folder: Path, socket: Path, parallel: int) -> RunningEngine:
    """Start the program of `llama.server` as an engine."""
    folder.mkdir()
    return start_llama_cpp(
        Path("m"),
        "r-1",
        folder,
        threads=1,
        die_with_parent=False,
        parallel=parallel,
        context_tokens=64,
        socket=socket,
        program=program,
    )


LISTENS = """#!{python}
import socket, sys, time
with socket.socket(socket.AF_UNIX) as server:
    server.bind(sys.argv[sys.argv.index("--host") + 1])
    server.listen()
    print("listens", flush=True)
    connection, _ = server.accept()
    connection.recv(1)
    connection.close()
    time.sleep(60)
"""
"""Ends at SIGTERM, even with open connections."""


@pytest.mark.parametrize("is_own", [True, False])
def test_an_engine_without_graceful_shutdown_is_stopped_after_its_last_connection(tmp_path: Path, is_own: bool) -> None:
    """llama.cpp's server cuts off its answers at SIGTERM."""
    program, path = tmp_path / "any-server", new_socket_path(tmp_path / "s")
    program.write_text(LISTENS.format(python=sys.executable))
    program.chmod(0o700)
    engine = _own_program(program, tmp_path / "engine", path, parallel=1)
    wait(lambda: "listens" in engine.log.read_text())
    with held_connection(engine):
        stop = partial(stop_engine, engine) if is_own else partial(stop_recorded_engine, engine.folder)
        stopping = threading.Thread(target=stop, args=(1,))
        stopping.start()
        stopping.join(1)
        assert stopping.is_alive()
        assert engine.is_alive
    stopping.join(30)
    assert not engine.is_alive


def test_sockets_are_in_a_private_folder_and_overlong_paths_are_refused(tmp_path: Path) -> None:
    """Engines create world-accessible sockets, and Linux truncates long paths."""
    assert new_socket_path(tmp_path / "s").parent.stat().st_mode & 0o777 == 0o700
    with pytest.raises(AddressError, match="FINE_TUNE_DATA_DIR"):
        new_socket_path(tmp_path / ("x" * 100))


def test_an_engine_that_does_not_fit_is_refused_with_the_sizes() -> None:
    """The kernel would kill a process, perhaps the live engine."""
    need = MemoryEstimate(3 * GIB, GIB, GIB)
    assert explain_shortfall(need, 6 * GIB, GIB) is None
    why = explain_shortfall(need, 6 * GIB - 1, GIB)
    assert why is not None
    assert "about 5.0 GiB (weights 3.0, KV cache 1.0, program 1.0)" in why


def test_a_release_that_does_not_fit_is_never_started(settings: Settings, ledger: Ledger) -> None:
    supervisor = Supervisor(changed(settings, engine={"memory_reserve_gb": 100_000}), ledger, SupervisorTimings())
    name = request_deployment(ledger, build_release(settings, ledger, "One.")).deployment_id
    tick_until(supervisor, lambda: deployment_of(ledger, name).state == "failed")
    found = deployment_of(ledger, name)
    assert "FINE_TUNE_ENGINE_MEMORY_RESERVE_GB" in found.detail
    assert not (settings.layout.run / "engines" / name / "engine.log").exists()


def test_memory_is_estimated_from_the_gguf_header(tmp_path: Path) -> None:
    """SmolLM2-135M: 30 layers, 3 KV heads of 64 values, 16 bits, keys and values."""
    os.symlink(tiny_gguf(), tmp_path / MODEL)
    assert kv_cache_bytes_per_token(read_gguf_header(tmp_path / MODEL)) == 2 * 2 * 30 * 3 * 64
    release = ReleaseFolder(tmp_path, "r-1", {"files": {}})
    need = estimate_memory(release, Settings(), parallel=4)
    assert need.weights_bytes == tiny_gguf().stat().st_size
    assert need.cache_bytes == 4 * 2048 * 2 * 2 * 30 * 3 * 64
    (tmp_path / "none").write_text("no GGUF")
    assert read_gguf_header(tmp_path / "none") == {}
    cut = tmp_path / "cut"
    cut.write_bytes(tiny_gguf().read_bytes()[:40])
    assert kv_cache_bytes_per_token(read_gguf_header(cut)) is None


def test_retention_is_decided_after_the_new_engine_has_started(ledger: Ledger) -> None:
    """Memory must suffice for both engines, so it is checked when both run."""
    asked: list[str] = []

    def keep_old() -> timedelta | None:
        live = find_live_deployment(ledger)
        asked.append(f"{deployment_of(ledger, name).state}, {live.release_id if live else None}")
        return timedelta(minutes=5)

    first = switched(ledger, "r-1")
    name = make_ready(ledger, "r-2", upto="requested").deployment_id
    starting = threading.Timer(0.3, lambda: make_ready(ledger, "r-2"))
    starting.start()
    deploy_release(ledger, "r-2", timeout_seconds=60, retention=keep_old)
    starting.join()
    assert asked == ["ready, r-1"]
    assert deployment_of(ledger, first.deployment_id).standby_until is not None
    deploy_release(ledger, "r-2", timeout_seconds=1, retention=keep_old)
    assert len(asked) == 1


def test_waiting_for_an_engine_reports_progress_repeatedly(ledger: Ledger) -> None:
    """vLLM takes minutes to start, and without reports the step looks stuck."""
    reports: list[tuple[int, int, str]] = []
    name = make_ready(ledger, "r-1", upto="requested").deployment_id
    starting = threading.Timer(0.9, lambda: record_state(ledger, name, "starting"))
    starting.start()
    with pytest.raises(ServingError, match=f"{name} is still starting"):
        wait_until_ready(ledger, name, 2, lambda *report: reports.append(report), report_seconds=0.3)
    starting.join()
    states = [(done, total, what.partition("(")[2].partition(",")[0]) for done, total, what in reports]
    assert set(states) == {(0, 3, "requested"), (1, 3, "starting")}
    assert states == sorted(states)
    assert states.count((0, 3, "requested")) >= 2
    assert states.count((1, 3, "starting")) >= 2


def test_the_rollback_target_has_one_wording(ledger: Ledger) -> None:
    """Commands, pages and docs use the same words."""
    assert describe_rollback(find_rollback_target(ledger)) == "no release to roll back to"
    first = switched(ledger, "r-1")
    switched(ledger, "r-2")
    assert describe_rollback(find_rollback_target(ledger)) == "to r-1, takes seconds"
    record_state(ledger, first.deployment_id, "stopped")
    assert (
        describe_rollback(find_rollback_target(ledger))
        == "to r-1, takes as long as an engine start, since it is not kept"
    )


def test_the_previous_release_is_kept_by_the_setting_and_while_memory_suffices() -> None:
    """A kept engine must never take the live engine's memory."""
    assert compute_retention(0, 100, 1) is None
    assert compute_retention(60, 1, 2) is None
    minutes = compute_retention(60, 2, 2)
    assert minutes is not None
    assert minutes.total_seconds() == 3600
    forever = compute_retention(-1, 2, 2)
    assert forever is not None
    assert forever.days > 10_000

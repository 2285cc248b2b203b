"""Which program is started, and whether there is room for it."""

import os
import sys
import threading
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from fine_tune_assets.core.releases.release_folders import MODEL, ReleaseFolder
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.engines.addresses import AddressError, new_socket
from fine_tune_assets.engines.gguf_header import cache_bytes_per_token, read_gguf_header
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
from fine_tune_assets.ledger.serving.deployments import live_deployment, report_state, want_release
from fine_tune_assets.ledger.serving.rollbacks import find_back
from fine_tune_assets.serving.engine_start import GIB, Need, need_of, program_of, program_serving, refusal
from fine_tune_assets.serving.reconciliation import Pace
from fine_tune_assets.serving.supervisor import Supervisor
from fine_tune_assets.serving.switch import ServingError, keeping_time, rollback_words, serve_release, wait_until_ready
from fine_tune_assets_tests.changed_settings import changed
from fine_tune_assets_tests.ledger.made import deployment_of
from fine_tune_assets_tests.serving.load import wait
from fine_tune_assets_tests.serving.ticking import tick_until
from fine_tune_assets_tests.serving.tiny import build_release, held_connection, make_ready, switched, tiny_gguf


def test_llama_server_shows_nothing_and_has_its_key_in_a_file() -> None:
    """Whoever can list processes reads command lines; its pages and slots would show what users ask."""
    options = {"model": "m", "host": "/run/e.sock", "port": 0, "api-key-file": "/run/key", "lora": ""}
    command = llama_server_command(Path("/x"), options)
    assert {"--no-ui", "--no-slots", "--offline"} <= set(command)
    assert not {"--metrics", "--port", "--lora"} & set(command)
    assert command[command.index("--api-key-file") + 1] == "/run/key"
    assert command[command.index("--host") + 1] == "/run/e.sock"


def test_the_program_that_serves_is_said_with_how_many_it_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether users wait in line is the first thing that an operator is asked."""
    monkeypatch.setenv("PATH", str(tmp_path))
    settings = Settings()
    assert "llama.cpp's server answers 4 requests" in program_of("llama_cpp", settings).in_words
    assert "as many requests as fit" in program_of("vllm", settings).in_words
    program = tmp_path / "llama-server"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o700)
    assert "llama.cpp's server" in program_of("llama_cpp", settings).in_words  # no other one is taken from PATH
    own = program_of("llama_cpp", changed(settings, llama={"server": str(program), "parallel": 2}))
    assert "llama-server answers 2 requests" in own.in_words
    with pytest.raises(EngineError, match="FINE_TUNE_LLAMA_SERVER"):
        program_of("llama_cpp", changed(settings, llama={"server": str(tmp_path / "none")}))
    with pytest.raises(EngineError, match="tgi"):
        program_of("tgi", settings)


def test_the_program_that_runs_is_told_and_it_gets_time_for_its_last_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks may have other settings and another PATH than the supervisor; and a record without a time means 10 seconds."""
    program, folder = tmp_path / "any-server", tmp_path / "engine"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o700)
    monkeypatch.setenv("PATH", "/bin:/usr/bin")
    socket = new_socket(tmp_path / "s")
    engine = _own_program(program, folder, socket, parallel=3)
    try:
        assert "llama-server answers 3 requests at once" in program_serving(folder, "llama_cpp", Settings()).in_words
        adopted = adopt_engine(folder)
        assert adopted is not None
        assert (engine.shutdown_seconds, adopted.shutdown_seconds) == (SHUTDOWN_SECONDS, SHUTDOWN_SECONDS)
    finally:
        stop_engine(engine, 1, is_hung=True)
    assert "llama.cpp's server" in program_serving(folder, "llama_cpp", Settings()).in_words


def _own_program(program: Path, folder: Path, socket: Path, parallel: int) -> RunningEngine:
    """An engine that the setting names, started for users."""
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
"""Ends at SIGTERM, whoever waits for it."""


@pytest.mark.parametrize("is_own", [True, False])
def test_one_that_would_cut_off_its_answers_is_stopped_when_nobody_waits_for_it(tmp_path: Path, is_own: bool) -> None:
    """llama.cpp's server does."""
    program, path = tmp_path / "any-server", new_socket(tmp_path / "s")
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


def test_a_socket_lies_in_a_folder_of_this_user_and_a_path_that_is_too_long_is_refused(tmp_path: Path) -> None:
    """Engines leave their sockets open to everybody, and Linux cuts long paths off."""
    assert new_socket(tmp_path / "s").parent.stat().st_mode & 0o777 == 0o700
    with pytest.raises(AddressError, match="FINE_TUNE_DATA_DIR"):
        new_socket(tmp_path / ("x" * 100))


def test_what_does_not_fit_is_refused_with_the_figures() -> None:
    """The kernel would end some process, perhaps the one that answers users."""
    need = Need(3 * GIB, GIB, GIB)
    assert refusal(need, 6 * GIB, GIB) is None
    why = refusal(need, 6 * GIB - 1, GIB)
    assert why is not None
    assert "about 5.0 GiB (weights 3.0, keys and values 1.0, program 1.0)" in why


def test_a_release_that_does_not_fit_is_never_started(settings: Settings, ledger: Ledger) -> None:
    supervisor = Supervisor(changed(settings, engine={"memory_reserve_gb": 100_000}), ledger, Pace())
    name = want_release(ledger, build_release(settings, ledger, "One.")).deployment_id
    tick_until(supervisor, lambda: deployment_of(ledger, name).state == "failed")
    found = deployment_of(ledger, name)
    assert "FINE_TUNE_ENGINE_MEMORY_RESERVE_GB" in found.detail
    assert not (settings.layout.run / "engines" / name / "engine.log").exists()


def test_the_need_is_read_off_the_file(tmp_path: Path) -> None:
    """SmolLM2-135M: 30 layers, 3 heads for keys of 64 numbers, in 16 bits, twice."""
    os.symlink(tiny_gguf(), tmp_path / MODEL)
    assert cache_bytes_per_token(read_gguf_header(tmp_path / MODEL)) == 2 * 2 * 30 * 3 * 64
    release = ReleaseFolder(tmp_path, "r-1", {"files": {}})
    need = need_of(release, Settings(), parallel=4)
    assert need.weights_bytes == tiny_gguf().stat().st_size
    assert need.cache_bytes == 4 * 2048 * 2 * 2 * 30 * 3 * 64
    (tmp_path / "none").write_text("no GGUF")
    assert read_gguf_header(tmp_path / "none") == {}
    cut = tmp_path / "cut"
    cut.write_bytes(tiny_gguf().read_bytes()[:40])
    assert cache_bytes_per_token(read_gguf_header(cut)) is None


def test_memory_is_looked_at_when_the_new_engine_has_taken_its_own(ledger: Ledger) -> None:
    """Before the start it looks as if both fit; what counts is what is left beside both."""
    asked: list[str] = []

    def keep_old() -> timedelta | None:
        live = live_deployment(ledger)
        asked.append(f"{deployment_of(ledger, name).state}, {live.release_id if live else None}")
        return timedelta(minutes=5)

    first = switched(ledger, "r-1")
    name = make_ready(ledger, "r-2", upto="wanted").deployment_id
    starting = threading.Timer(0.3, lambda: make_ready(ledger, "r-2"))
    starting.start()
    serve_release(ledger, "r-2", timeout_seconds=60, keep_old=keep_old)
    starting.join()
    assert asked == ["ready, r-1"]
    assert deployment_of(ledger, first.deployment_id).keep_until is not None
    serve_release(ledger, "r-2", timeout_seconds=1, keep_old=keep_old)
    assert len(asked) == 1


def test_whoever_waits_for_an_engine_is_told_again_and_again(ledger: Ledger) -> None:
    """vLLM takes minutes to start: without a word it looks as if nothing happened."""
    told: list[tuple[int, int, str]] = []
    name = make_ready(ledger, "r-1", upto="wanted").deployment_id
    starting = threading.Timer(0.9, lambda: report_state(ledger, name, "starting"))
    starting.start()
    with pytest.raises(ServingError, match="still starting"):
        wait_until_ready(ledger, name, 2, lambda *words: told.append(words), tell_seconds=0.3)
    starting.join()
    states = [(done, total, what.partition("(")[2].partition(",")[0]) for done, total, what in told]
    assert set(states) == {(0, 3, "wanted"), (1, 3, "starting")}
    assert states == sorted(states)
    assert states.count((0, 3, "wanted")) >= 2
    assert states.count((1, 3, "starting")) >= 2


def test_a_rollback_is_told_in_one_wording(ledger: Ledger) -> None:
    """The command line, the UI and the docs must not seem to speak of different things."""
    assert rollback_words(find_back(ledger)) == "nothing to go back to"
    first = switched(ledger, "r-1")
    switched(ledger, "r-2")
    assert rollback_words(find_back(ledger)) == "to r-1, in seconds while it is kept"
    report_state(ledger, first.deployment_id, "stopped")
    assert rollback_words(find_back(ledger)) == "to r-1, as long as a start takes, since it is not kept"


def test_what_served_before_is_kept_as_it_was_set_and_while_there_is_memory() -> None:
    """A kept engine must never cost the live one its memory."""
    assert keeping_time(0, 100, 1) is None
    assert keeping_time(60, 1, 2) is None
    minutes = keeping_time(60, 2, 2)
    assert minutes is not None
    assert minutes.total_seconds() == 3600
    forever = keeping_time(-1, 2, 2)
    assert forever is not None
    assert forever.days > 10_000

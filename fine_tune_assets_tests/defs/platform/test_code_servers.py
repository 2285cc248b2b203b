"""The daemon's code server: one process for hours, and another one as soon as it is needed.

With Dagster's own controller, workspace and server.
"""

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.workspace.load_target import PythonFileTarget
from dagster._daemon import controller as daemon
from dagster._daemon.daemon import BackfillDaemon

from fine_tune_assets.defs.platform import code_servers
from fine_tune_assets.defs.platform.code_servers import KEPT_SECONDS, check_workspace_freshness, what_was_read
from fine_tune_assets.engines.processes import identify

LONG_AGO = 0.0
"""A workspace that was looked at then is looked at now."""


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("code")
    (folder / "small.py").write_text("import dagster as dg\n\n\n@dg.asset\ndef one() -> None: ...\n")
    return folder


@pytest.fixture(scope="module")
def running(code: Path) -> Iterator[Any]:
    """The daemon's controller, with a small code location in a process of its own."""
    target = PythonFileTarget(str(code / "small.py"), attribute=None, working_directory=None, location_name="small")
    with (
        dg.DagsterInstance.local_temp() as instance,
        daemon.daemon_controller_from_instance(
            instance, target, gen_daemons=lambda i: [daemon.create_daemon_of_type(BackfillDaemon.daemon_type(), i)]
        ) as made,
    ):
        yield made


@pytest.fixture
def controller(running: Any, code: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """As a daemon that was just started."""
    monkeypatch.setattr(code_servers, "_CODE", code)
    code_servers._kept.clear()
    return running


def server(controller: Any) -> str:
    (entry,) = controller._workspace_process_context.get_current_workspace().code_location_entries.values()
    return str(entry.code_location.server_id)


def test_a_server_that_answers_and_whose_code_is_the_same_is_kept(controller: Any) -> None:
    check_workspace_freshness(controller, LONG_AGO)
    before = server(controller)
    for _ in range(3):
        assert check_workspace_freshness(controller, LONG_AGO) >= time.time() - 60
    assert server(controller) == before


def test_what_changed_while_the_daemon_started_is_read(controller: Any) -> None:
    """Its server imported the code before anybody knew of what state."""
    before = server(controller)
    check_workspace_freshness(controller, LONG_AGO)
    assert server(controller) != before


@pytest.mark.parametrize("name", ["rules.txt", "words.csv", "part/new.py"])
def test_any_file_of_the_code_counts_and_what_is_compiled_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Lists of words decide versions too."""
    monkeypatch.setattr(code_servers, "_CODE", tmp_path)
    path = tmp_path / name
    before = what_was_read()
    path.parent.mkdir(exist_ok=True)
    path.write_text("a")
    after = what_was_read()
    assert after != before
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "x.pyc").write_text("b")
    assert what_was_read() == after


def test_a_library_or_a_program_that_was_installed_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables are made again by what reads now: a server that believes in the old version would ask for them for ever."""
    monkeypatch.setattr(code_servers, "_CODE", tmp_path / "none")
    seen = [what_was_read()]
    monkeypatch.setattr(code_servers.shutil, "which", lambda _: "/usr/bin/another")
    seen.append(what_was_read())
    monkeypatch.setattr(code_servers.sysconfig, "get_paths", lambda: {"purelib": str(tmp_path)})
    seen.append(what_was_read())
    (tmp_path / "library-2.0.dist-info").mkdir()
    seen.append(what_was_read())
    assert len(set(seen)) == 4


def test_where_it_cannot_be_read_it_counts_as_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the daemon goes on."""

    class Vanishing:
        def rglob(self, _: str) -> None:
            raise FileNotFoundError

    before = what_was_read()
    monkeypatch.setattr(code_servers, "_CODE", Vanishing())
    assert what_was_read() != before


def test_nothing_is_asked_before_a_minute_is_over(controller: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    check_workspace_freshness(controller, LONG_AGO)
    monkeypatch.setattr(code_servers, "what_was_read", lambda: pytest.fail("It reads hundreds of files."))
    recently = time.time() - 5
    assert check_workspace_freshness(controller, recently) == recently


def test_changed_code_is_in_force_with_the_next_look(controller: Any, code: Path) -> None:
    """And once: the one after that finds it as it is."""
    check_workspace_freshness(controller, LONG_AGO)
    before = server(controller)
    with (code / "small.py").open("a") as file:
        file.write("\n\n@dg.asset\ndef two() -> None: ...\n")
    check_workspace_freshness(controller, LONG_AGO)
    after = server(controller)
    assert after != before
    check_workspace_freshness(controller, LONG_AGO)
    assert server(controller) == after


def test_a_server_that_was_killed_is_followed_by_another(controller: Any) -> None:
    """For want of memory, say: sensors would fail until somebody starts the daemon again."""
    check_workspace_freshness(controller, LONG_AGO)
    before = server(controller)
    process = controller._grpc_server_registry._all_processes[-1]
    os.kill(process.pid, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while identify(process.pid) is not None and process.server_process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    check_workspace_freshness(controller, LONG_AGO)
    assert server(controller) != before


def test_none_grows_old(controller: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    check_workspace_freshness(controller, LONG_AGO)
    before, later = server(controller), time.time() + KEPT_SECONDS
    monkeypatch.setattr(code_servers.time, "time", lambda: later)
    check_workspace_freshness(controller, LONG_AGO)
    assert server(controller) != before


def test_the_daemon_alone_pays_for_it() -> None:
    """Each step's process opens the instance too."""
    import subprocess

    platform = "fine_tune_assets.defs.platform"
    look = f"import {{}}{platform}.run_launcher, sys; print('{platform}.code_servers' in sys.modules)"
    for first, expected in (("", "False"), ("dagster._daemon.cli, ", "True")):
        done = subprocess.run([sys.executable, "-c", look.format(first)], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == expected

"""A process that reads a stranger's file can reach neither keys nor network, and nothing that it does stops its parent."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.processes.confined_process import (
    ConfinedProcess,
    ConfinedProcessError,
    Failure,
    ProcessLimits,
    UnconfinedError,
    _require_confinement,
    probe_confinement,
)
from fine_tune_assets.core.processes.confined_worker import Channel
from fine_tune_assets.core.processes.confinement import Access, Confinement, Means, ResourceLimits
from fine_tune_assets.core.settings import PREFIX
from fine_tune_assets_tests.system_programs import is_continuous_integration

TESTS = str(Path(__file__).parents[2])
LIMITS = ProcessLimits(seconds=10, cpu_seconds=1, memory_bytes=2**30, output_bytes=2**20, file_bytes=1000)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "data" / "keys" / "signing.key"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"k" * 32)
    path.chmod(0o600)
    return path


def ask(function: Callable[..., None], *, readable: str = "", writable: str = "", **arguments: Any) -> dict[str, Any]:
    access = Access((TESTS, *filter(None, [readable])), tuple(filter(None, [writable])))
    with ConfinedProcess(function, arguments, LIMITS, access) as process:
        return process.receive()


def _name_error(action: Callable[[], object]) -> str:
    try:
        action()
    except (OSError, subprocess.SubprocessError) as error:
        return type(error).__name__
    return ""


def _misbehave(channel: Channel, key: str, port: int, parent: int, socket_path: str, name: str) -> None:
    """A parser that was taken over."""
    channel.send(
        {
            "read": _name_error(lambda: Path(key).read_bytes()),
            "list": _name_error(lambda: os.listdir(os.path.dirname(key))),
            "write": _name_error(lambda: Path(key + ".new").write_bytes(b"x")),
            "root": _name_error(lambda: os.listdir("/")),
            "parent": _name_error(lambda: Path(f"/proc/{parent}/environ").read_bytes()),
            "kill": _name_error(lambda: os.kill(parent, 0)),
            "connect": _name_error(lambda: socket.create_connection(("127.0.0.1", port), 1)),
            "udp": _name_error(
                lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", port))
            ),
            "engine": _name_error(lambda: socket.socket(socket.AF_UNIX).connect(socket_path)),
            "program": _name_error(lambda: subprocess.run([sys.executable, "-c", f"open({key!r})"], check=True)),
            "variables": [variable for variable in os.environ if variable.startswith(PREFIX) and variable != name],
        }
    )


@pytest.mark.usefixtures("confined_system")
def test_a_parser_reads_no_key_and_opens_no_socket(key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that would let a malicious file out, or in."""
    monkeypatch.setenv(f"{PREFIX}LEDGER_URL", "postgresql://user:password@localhost/ledger")
    engine = socket.socket(socket.AF_UNIX)
    engine.bind(str(tmp_path / "engine.sock"))
    engine.listen()
    with engine, socket.create_server(("127.0.0.1", 0)) as server:
        found = ask(
            _misbehave,
            key=str(key),
            port=server.getsockname()[1],
            parent=os.getpid(),
            socket_path=str(tmp_path / "engine.sock"),
            name=f"{PREFIX}PARENT",
        )
    assert found.pop("variables") == []
    assert found.pop("program")  # it fails, for whatever reason
    assert {name: error for name, error in found.items() if error != "PermissionError"} == {}


@pytest.fixture(scope="module")
def confined_system() -> None:
    """Skips where the system has too few means, which continuous integration must have."""
    means = probe_confinement("/").means
    if not Confinement(means).is_complete:
        message = f"this system confines no process: it has {sorted(means)}"
        pytest.fail(message) if is_continuous_integration() else pytest.skip(message)


def _confine_with(means: str) -> str:
    return f"""
import socket, sys
from fine_tune_assets.core.processes.confinement import *
found = confine(Access(), ResourceLimits(2**30), frozenset(map(Means, {means!r}.split())))
def fails(action):
    try:
        action()
    except OSError:
        return True
    return False
address = ("127.0.0.1", int(sys.argv[2]))
print(",".join(found.means), fails(lambda: open(sys.argv[1])), fails(lambda: socket.create_connection(address)))
"""


@pytest.mark.parametrize(
    ("means", "hides_file", "hides_network"),
    [("", False, False), ("landlock", True, None), ("seccomp", False, True), ("namespaces", False, True)],
)
@pytest.mark.usefixtures("confined_system")
def test_each_means_holds_alone(key: Path, means: str, hides_file: bool, hides_network: bool | None) -> None:
    """Another kernel or a container lacks some of them; what is in force is reported as it is."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        command = [sys.executable, "-c", _confine_with(means), str(key), str(server.getsockname()[1])]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    in_force, is_hidden, is_offline = done.stdout.strip("\n").split(" ")
    if means and not in_force:
        pytest.skip(f"this system has no {means}")
    assert in_force == means
    assert is_hidden == str(hides_file)
    assert hides_network is None or is_offline == str(hides_network)
    confinement = Confinement(frozenset(map(Means, means.split())))
    assert confinement.hides_files == hides_file
    assert not confinement.is_complete


def test_without_confinement_files_are_refused_if_the_settings_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """An organization that needs it must not run open because of a new kernel or container."""
    open_process = Confinement(frozenset({Means.SECCOMP}))
    _require_confinement(open_process)
    monkeypatch.setenv(f"{PREFIX}REQUIRE_CONFINEMENT", "true")
    with pytest.raises(UnconfinedError):
        _require_confinement(open_process)
    _require_confinement(Confinement(frozenset(Means)))


def _read_and_write(channel: Channel, given: str, folder: str) -> None:
    content = Path(given).read_text()
    (Path(folder) / "sub").mkdir()
    (Path(folder) / "sub" / "copy").write_text(content)
    channel.send({"too_long": _name_error(lambda: (Path(folder) / "long").write_text("x" * 2000))})


def test_a_process_reads_and_writes_what_it_was_given(tmp_path: Path) -> None:
    """Archives are unpacked by such a process."""
    given, folder = tmp_path / "given", tmp_path / "folder"
    given.write_text("text")
    folder.mkdir()
    found = ask(_read_and_write, readable=str(given), writable=str(folder), given=str(given), folder=str(folder))
    assert (folder / "sub" / "copy").read_text() == "text"
    assert found["too_long"] == "OSError"


def _fail(channel: Channel, how: str) -> None:
    channel.receive()
    match how:
        case "spin":
            while True:
                pass
        case "allocate":
            bytearray(2**31)
        case "write":
            channel.send({"text": "x" * 2**21})
        case "exit":
            os._exit(9)
        case "raise":
            raise LookupError("Zyxwvutquark")
        case "sleep":
            import time

            time.sleep(60)


@pytest.mark.parametrize(
    ("how", "failure"),
    [
        ("spin", Failure.CPU_TIME),
        ("allocate", Failure.OUT_OF_MEMORY),
        ("write", Failure.TOO_MUCH_OUTPUT),
        ("exit", Failure.CRASHED),
        ("raise", Failure.CRASHED),
    ],
)
def test_each_failure_has_a_name(how: str, failure: Failure) -> None:
    """The file that was read is refused with it."""
    with ConfinedProcess(_fail, {"how": how}, LIMITS, Access((TESTS,))) as process:
        process.send({}, b"content")
        with pytest.raises(ConfinedProcessError) as caught:
            process.receive()
        assert caught.value.failure is failure
        assert "Zyxwvutquark" not in str(caught.value)


def test_a_process_that_neither_reads_nor_answers_is_stopped() -> None:
    """A large file must not block the sender."""
    limits = ProcessLimits(seconds=2, cpu_seconds=10, memory_bytes=2**30, output_bytes=2**20)
    with ConfinedProcess(_fail, {"how": "sleep"}, limits, Access((TESTS,))) as process:
        process.send({})
        process.extend_deadline()
        with pytest.raises(ConfinedProcessError) as caught:
            process.send({}, bytes(10**7))
        assert caught.value.failure is Failure.TIMED_OUT


def test_limits_of_resources_apply_before_any_file_is_read() -> None:
    """A process whose imports already exceed them does nothing."""
    limits = ProcessLimits(seconds=10, cpu_seconds=1, memory_bytes=1000, output_bytes=1000)
    with (
        pytest.raises(ConfinedProcessError) as caught,
        ConfinedProcess(_fail, {"how": "sleep"}, limits, Access((TESTS,))) as process,
    ):
        process.receive()
    assert caught.value.failure is not Failure.TIMED_OUT
    assert ResourceLimits(1).file_bytes == 0

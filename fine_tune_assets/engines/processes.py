"""Starts programs, identifies them across restarts of this process, and stops them. Linux: reads /proc."""

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from fine_tune_assets.core.files import write_text

_PR_SET_PDEATHSIG = 1
_PF_EXITING = 0x4
_STATE, _FLAGS, _STARTED, _PENDING = 0, 6, 19, 28
"""Indices of fields in /proc/<pid>/stat (proc(5)), counted from the state field."""
_LOG_VARIABLE = "FINE_TUNE_PROCESS_LOG"
"""Environment variable that marks our processes and their descendants, even after their leader has died."""
_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class ProcessIdentity:
    """A process id and its start time, because process ids are reused."""

    pid: int
    start_ticks: int
    """Clock ticks since boot, from /proc/<pid>/stat."""


def identify(pid: int) -> ProcessIdentity | None:
    """The identity of a process; None if there is none, or only its zombie."""
    try:
        fields = _stat(pid)
    except OSError:
        return None
    return None if fields[_STATE] in ("Z", "X") else ProcessIdentity(pid, int(fields[_STARTED]))


def _stat(pid: int) -> list[str]:
    """Fields from the state on. The command name before it is in parentheses and may contain spaces."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()


def is_alive(identity: ProcessIdentity) -> bool:
    """True also for a killed process that has not exited yet: it still holds its memory, ports and locks."""
    return identify(identity.pid) == identity


def is_ending(identity: ProcessIdentity) -> bool:
    """Whether the process has exited or is exiting. Under load, a killed process takes up to 100 ms to exit (measured)."""
    if not is_alive(identity):
        return True
    try:
        fields = _stat(identity.pid)
    except OSError:
        return True
    is_pending = int(fields[_PENDING]) & 1 << signal.SIGKILL - 1
    return bool(is_pending or int(fields[_FLAGS]) & _PF_EXITING)


def start_process(
    command: Sequence[str], *, cwd: Path, environment: Mapping[str, str], log: Path, die_with_parent: bool
) -> subprocess.Popen[bytes]:
    """Start a program in a new session and append its output to `log`, which only this user can read."""
    log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    libc, parent = ctypes.CDLL(None), os.getpid()

    def prepare() -> None:
        # Ignored signals are inherited, and Dagster's would reach everything it starts.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, set())
        if die_with_parent:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os.kill(os.getpid(), signal.SIGKILL)  # the parent exited before prctl

    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        return subprocess.Popen(
            list(command),
            cwd=cwd,
            env={**environment, _LOG_VARIABLE: str(log.resolve())},
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=prepare,
        )
    finally:
        os.close(descriptor)


def stop_process(identity: ProcessIdentity, log: Path, grace_seconds: float) -> None:
    """Terminate the process and its session; kill them after `grace_seconds`. Does nothing if the process has exited.

    If the process died and left children, they are stopped too. `log` is the process's own log: the process id may belong to
    another process by now, whose group does not carry our mark.
    """
    found = identify(identity.pid)
    if found == identity:
        _send_signal(os.kill, identity.pid, signal.SIGTERM)
        if not _wait_for_exit(identity, grace_seconds):
            _send_signal(os.kill, identity.pid, signal.SIGKILL)
            _wait_for_exit(identity, grace_seconds)
    elif found is not None or not any(_is_ours(pid, log) for pid in _group_members(identity.pid)):
        return
    _end_session(identity.pid, grace_seconds)


def _end_session(leader: int, grace_seconds: float) -> None:
    """Stop the remaining group. The kernel does not reuse its number while a member lives."""
    deadline = time.monotonic() + grace_seconds
    _send_signal(os.killpg, leader, signal.SIGTERM)
    while _group_members(leader) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    _send_signal(os.killpg, leader, signal.SIGKILL)


def _group_members(leader: int) -> list[int]:
    """The processes of a group, without zombies."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = _stat(int(entry.name))
                if int(fields[2]) == leader and fields[0] not in ("Z", "X"):
                    found.append(int(entry.name))
    return found


def _is_ours(pid: int, log: Path) -> bool:
    with contextlib.suppress(OSError):
        return f"{_LOG_VARIABLE}={log.resolve()}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return False


def _send_signal(send: Callable[[int, int], None], target: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        send(target, number)


def _wait_for_exit(identity: ProcessIdentity, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while is_alive(identity):
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def cpu_seconds(identity: ProcessIdentity) -> float:
    """CPU time of the process group's live processes so far; 0 if the process has exited."""
    ticks = 0
    for pid in _group_members(identity.pid) if is_alive(identity) else ():
        with contextlib.suppress(OSError):
            ticks += sum(map(int, _stat(pid)[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def write_identity(path: Path, identity: ProcessIdentity) -> None:
    write_text(path, json.dumps(asdict(identity)))


def read_identity(path: Path) -> ProcessIdentity | None:
    """The identity in a pid file; None if it is missing or cannot be read."""
    try:
        return ProcessIdentity(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None

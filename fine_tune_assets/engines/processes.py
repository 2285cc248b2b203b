"""Programs that we start, recognise again later, and stop. Linux: reads /proc.

Owns starting a process with ordinary signals and a log file, an identity that survives our own restart, and stopping.
Does not know what the program does.
"""

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
"""Where proc(5) puts them in /proc/<pid>/stat, counted from the state on."""
_MARK = "FINE_TUNE_STARTED_WITH_LOG"
"""In the environment of what we start, and so of all that it starts in turn: whose it is when its leader is dead."""
_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class ProcessIdentity:
    """A process id with the moment it started: a recycled process id is another identity."""

    pid: int
    started: int
    """Clock ticks since boot, from /proc/<pid>/stat."""


def identify(pid: int) -> ProcessIdentity | None:
    """The identity of a process, or None if there is none or only its zombie."""
    try:
        fields = _stat(pid)
    except OSError:
        return None
    return None if fields[_STATE] in ("Z", "X") else ProcessIdentity(pid, int(fields[_STARTED]))


def _stat(pid: int) -> list[str]:
    """From the state on. The command's name before it is in parentheses and may hold spaces."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()


def is_alive(identity: ProcessIdentity) -> bool:
    """Also one that was killed and has not ended yet: it still has its memory, port and locks."""
    return identify(identity.pid) == identity


def is_killed(identity: ProcessIdentity) -> bool:
    """Whether it is gone, or about to be. On a busy machine a killed process takes up to 100 ms to end (measured)."""
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
    """Start a program in a session of its own, its output appended to `log` (readable by its user only)."""
    log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    libc, parent = ctypes.CDLL(None), os.getpid()

    def prepare() -> None:
        # An ignored signal is inherited, and Dagster would copy it to everything it starts.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, set())
        if die_with_parent:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os.kill(os.getpid(), signal.SIGKILL)  # the parent ended before the kernel was asked

    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        return subprocess.Popen(
            list(command),
            cwd=cwd,
            env={**environment, _MARK: str(log.resolve())},
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=prepare,
        )
    finally:
        os.close(descriptor)


def stop_process(identity: ProcessIdentity, log: Path, grace_seconds: float) -> None:
    """Ask the process to end, then its whole session, and after `grace_seconds` make it. Gone already: nothing.

    If it died alone, what it left behind is ended all the same. `log` is the one that it was started with: that number may
    be somebody else's by now, and then nothing of that group carries our mark.
    """
    found = identify(identity.pid)
    if found == identity:
        _signal(os.kill, identity.pid, signal.SIGTERM)
        if not _ends_within(identity, grace_seconds):
            _signal(os.kill, identity.pid, signal.SIGKILL)
            _ends_within(identity, grace_seconds)
    elif found is not None or not any(_is_marked(pid, log) for pid in _group(identity.pid)):
        return
    _end_session(identity.pid, grace_seconds)


def _end_session(leader: int, grace_seconds: float) -> None:
    """End what the process left behind. The kernel gives nobody else its number while its group lives."""
    deadline = time.monotonic() + grace_seconds
    _signal(os.killpg, leader, signal.SIGTERM)
    while _group(leader) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    _signal(os.killpg, leader, signal.SIGKILL)


def _group(leader: int) -> list[int]:
    """The processes of a group, without zombies."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = _stat(int(entry.name))
                if int(fields[2]) == leader and fields[0] not in ("Z", "X"):
                    found.append(int(entry.name))
    return found


def _is_marked(pid: int, log: Path) -> bool:
    with contextlib.suppress(OSError):
        return f"{_MARK}={log.resolve()}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return False


def _signal(send: Callable[[int, int], None], target: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        send(target, number)


def _ends_within(identity: ProcessIdentity, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while is_alive(identity):
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def processor_seconds(identity: ProcessIdentity) -> float:
    """Processor time that it has used so far, with what it started: of all threads that are alive; 0 when it is gone."""
    ticks = 0
    for pid in _group(identity.pid) if is_alive(identity) else ():
        with contextlib.suppress(OSError):
            ticks += sum(map(int, _stat(pid)[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def write_identity(path: Path, identity: ProcessIdentity) -> None:
    write_text(path, json.dumps(asdict(identity)))


def read_identity(path: Path) -> ProcessIdentity | None:
    """The identity in a pid file; None when there is no such file or it can't be read."""
    try:
        return ProcessIdentity(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None

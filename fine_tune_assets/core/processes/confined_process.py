"""Starts and talks to a process that reads strangers' files without keys and network, within limits (see confinement.py).

Every way in which it can fail raises `ConfinedProcessError`, so that the caller can refuse the file by name.
"""

import json
import logging
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import cache
from types import TracebackType
from typing import Any

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.line_names import name_line
from fine_tune_assets.core.processes.confined_worker import ERROR, OUT_OF_MEMORY, Channel, try_access
from fine_tune_assets.core.processes.confinement import Access, Confinement, Means, ResourceLimits, confined_environment
from fine_tune_assets.core.processes.offline import OFFLINE_ENVIRONMENT
from fine_tune_assets.core.processes.parent import parent_environment

_PART_BYTES = 2**20
_START_SECONDS = 60.0
_EXIT_SECONDS = 5.0


class Failure(StrEnum):
    """Why a confined process gave no answer."""

    TIMED_OUT = "took too long"
    CPU_TIME = "used too much CPU time"
    OUT_OF_MEMORY = "ran out of memory"
    TOO_MUCH_OUTPUT = "wrote too much"
    CRASHED = "crashed"


class ConfinedProcessError(FineTuneError):
    """A confined process was stopped or ended."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"The confined process {failure.value}. Check the file that it was reading.")
        self.failure = failure


class UnconfinedError(FineTuneError):
    """The system lacks the means of confinement, and the settings require them."""

    def __init__(self) -> None:
        super().__init__(
            "This system can't confine the processes that read files, so nothing was read. See `fine-tune doctor`; to read "
            "without confinement, set FINE_TUNE_REQUIRE_CONFINEMENT to false."
        )


@dataclass(frozen=True)
class ProcessLimits:
    seconds: float
    """Between two calls of `extend_deadline`."""
    cpu_seconds: int
    """For one task."""
    memory_bytes: int
    output_bytes: int
    """Between two calls of `extend_deadline`."""
    file_bytes: int = 0


def limits_by_size(size_bytes: int, memory_bytes: int) -> ProcessLimits:
    """For a task that reads so many bytes once, such as unpacking an archive, and writes at most ten times as many."""
    seconds = 600 + size_bytes // 2_000_000
    return ProcessLimits(seconds, seconds, memory_bytes, output_bytes=10_000_000, file_bytes=10 * size_bytes + 10**6)


class ConfinedProcess:
    """A running process. Use it as a context manager, so that it ends."""

    def __init__(
        self,
        function: Callable[..., None],
        arguments: dict[str, Any],
        limits: ProcessLimits,
        access: Access = Access(),  # noqa: B008
        *,
        is_required: bool = True,
    ) -> None:
        """`function` is called with a `Channel` and the arguments. Raises ConfinedProcessError, and UnconfinedError unless
        `is_required` is false."""
        self._limits, self._buffer, self._scanned = limits, bytearray(), 0
        self._deadline, self._received = time.monotonic() + _START_SECONDS, 0
        resources = ResourceLimits(limits.memory_bytes, limits.file_bytes)
        setup = {"access": asdict(access), "limits": asdict(resources), "cpu_seconds": limits.cpu_seconds}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", Channel.__module__, _name(function), json.dumps(setup)],
            env={**confined_environment(access), **OFFLINE_ENVIRONMENT, **parent_environment()}, cwd="/",
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0,
        )  # fmt: skip
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input, self._output = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._input, False)
        try:
            self.confinement = Confinement(frozenset(map(Means, self.receive()["means"])))
            if is_required:
                _require_confinement(self.confinement)
            self.send(arguments)
        except BaseException:
            self.stop()
            raise
        self.extend_deadline()

    def __enter__(self) -> "ConfinedProcess":
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def id(self) -> int:
        return self._process.pid

    def extend_deadline(self) -> None:
        """A new task begins: the limits of time and output count from here."""
        self._deadline, self._received = time.monotonic() + self._limits.seconds, 0

    def send(self, message: dict[str, Any], content: bytes = b"") -> None:
        """Raises ConfinedProcessError."""
        header = {**message, "content_bytes": len(content)} if content else message
        try:
            for part in (json.dumps(header).encode() + b"\n", content):
                self._write(memoryview(part))
        except OSError:
            raise self._fail(None) from None

    def receive(self) -> dict[str, Any]:
        """The next message. Raises ConfinedProcessError."""
        while (end := self._buffer.find(b"\n", self._scanned)) < 0:
            self._scanned = len(self._buffer)
            self._read()
        line, self._scanned = bytes(self._buffer[:end]), 0
        del self._buffer[: end + 1]
        try:
            return dict(json.loads(line))
        except (ValueError, TypeError, RecursionError):
            raise self._fail(Failure.CRASHED) from None

    def messages(self, *errors: type[FineTuneError]) -> Iterator[dict[str, Any]]:
        """All messages until the function returns. Raises its error of `errors`, or ConfinedProcessError."""
        while True:
            try:
                message = self.receive()
            except ConfinedProcessError:
                if self._process.poll() == 0 and not self._buffer:
                    return
                raise
            if ERROR in message:
                raise _known_error(message, errors) or self._fail(Failure.CRASHED)
            yield message

    def stop(self) -> None:
        """Kill the process, if it still runs."""
        self._process.kill()
        self._process.communicate()

    def _write(self, part: memoryview) -> None:
        while part:
            self._wait(self._input, select.POLLOUT)
            try:
                part = part[os.write(self._input, part[:_PART_BYTES]) :]
            except BlockingIOError:
                continue

    def _read(self) -> None:
        self._wait(self._output, select.POLLIN)
        part = os.read(self._output, _PART_BYTES)
        self._received += len(part)
        if not part:
            raise self._fail(None)
        if self._received > self._limits.output_bytes:
            raise self._fail(Failure.TOO_MUCH_OUTPUT)
        self._buffer += part

    def _wait(self, descriptor: int, event: int) -> None:
        poll = select.poll()
        poll.register(descriptor, event)
        if not poll.poll(max(0.0, self._deadline - time.monotonic()) * 1000):
            raise self._fail(Failure.TIMED_OUT)

    def _fail(self, failure: Failure | None) -> ConfinedProcessError:
        """Stop the process. None: it has ended, and its exit status says why."""
        if failure is None:
            try:
                status = self._process.wait(_EXIT_SECONDS)
            except subprocess.TimeoutExpired:
                status = 1
            reasons = {-signal.SIGXCPU: Failure.CPU_TIME, OUT_OF_MEMORY: Failure.OUT_OF_MEMORY}
            failure = reasons.get(status, Failure.CRASHED)
        self.stop()
        return ConfinedProcessError(failure)


def call_confined(
    function: Callable[..., None],
    arguments: dict[str, Any],
    limits: ProcessLimits,
    access: Access,
    errors: Sequence[type[FineTuneError]],
) -> list[dict[str, Any]]:
    """All messages of one function. Raises the error of `errors` that it raised, ConfinedProcessError or UnconfinedError."""
    with ConfinedProcess(function, arguments, limits, access) as process:
        return list(process.messages(*errors))


@dataclass(frozen=True)
class Probe:
    """What a confined process of this system can do."""

    means: frozenset[Means]
    reads_secret: bool
    opens_socket: bool


def probe_confinement(secret: str) -> Probe:
    """Let a confined process try to open a file, or to list a folder, and to open a socket."""
    limits = ProcessLimits(seconds=_START_SECONDS, cpu_seconds=10, memory_bytes=2**30, output_bytes=2**16)
    with ConfinedProcess(try_access, {"secret": secret}, limits, is_required=False) as process:
        found = process.receive()
        return Probe(process.confinement.means, bool(found["reads_secret"]), bool(found["opens_socket"]))


def _name(function: Callable[..., None]) -> str:
    return f"{function.__module__}:{function.__qualname__}"


def _known_error(message: dict[str, Any], errors: Sequence[type[FineTuneError]]) -> FineTuneError | None:
    return next((kind(str(message[ERROR])) for kind in errors if kind.__name__ == message.get("kind")), None)


def _require_confinement(confinement: Confinement) -> None:
    if confinement.is_complete:
        return
    from fine_tune_assets.core.settings import load_settings  # takes 0.2 s, in confined processes too

    if load_settings().require_confinement:
        raise UnconfinedError
    _warn_once(", ".join(sorted(confinement.means)) or "none")


@cache
def _warn_once(means: str) -> None:
    logging.getLogger(__name__).warning(
        name_line("Files are read without complete confinement (in force: %s). See `fine-tune doctor`."), means
    )

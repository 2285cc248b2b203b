"""Forks worker processes from a server that has already imported the heavy libraries, which saves 5 seconds each.

The server runs one worker at a time, and both die with the process that started the server. Not used on a machine with a GPU: a
process that has initialized CUDA cannot be forked.
"""

import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.processes.offline import OFFLINE_ENVIRONMENT, go_offline, use_large_pages
from fine_tune_assets.core.processes.parent import PARENT_VARIABLE, die_with_parent, parent_environment

_GPU_DEVICES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
_INTERRUPT_TIMEOUT_SECONDS = 20.0
"""How long an interrupted worker may take to exit."""
_START_TIMEOUT_SECONDS = 60.0
_GO = b"g"
"""Sent to a worker by the process that can now interrupt it."""
_NUMBER_BYTES = 8
"""Bytes of a number in the protocol."""


class ForkServer:
    """`preloaded_modules`: modules to preload. They must not start threads or keep values from the environment."""

    def __init__(self, preloaded_modules: Sequence[str]) -> None:
        ours, theirs = socket.socketpair()
        self._line, self._is_ready = ours, False
        command = [
            sys.executable,
            "-m",
            "fine_tune_assets.core.processes.fork_server",
            str(theirs.fileno()),
            *preloaded_modules,
        ]
        environment = {**os.environ, **OFFLINE_ENVIRONMENT, **parent_environment()}
        self._process = subprocess.Popen(command, cwd=PROJECT_DIR, env=environment, pass_fds=(theirs.fileno(),))
        theirs.close()

    def run(self, module: str, environment: Mapping[str, str]) -> int:
        """Run `python -m module` with that environment, and return its exit code: negative for a signal."""
        request, worker = json.dumps([module, dict(environment)]).encode(), 0
        try:
            socket.send_fds(self._line, [_encode_number(len(request))], [1, 2])
            self._line.sendall(request)
            worker = _receive_number(self._line)
            self._line.sendall(_GO)
            return _receive_number(self._line)
        except ConnectionError:
            return -signal.SIGKILL  # the worker died with the server
        except BaseException:
            if worker:
                self._interrupt(worker)
            else:
                self.stop()  # the worker has not begun
            raise

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def stop(self) -> None:
        self._line.close()
        self._process.kill()
        self._process.wait()

    def wait_until_ready(self) -> bool:
        """Wait for the end of the imports, at most a minute. False if the server died instead, or is still importing."""
        if not self._is_ready:
            self._line.settimeout(_START_TIMEOUT_SECONDS)
            with suppress(ConnectionError, TimeoutError):
                self._is_ready = bool(self._line.recv(1))
            self._line.settimeout(None)
        return self._is_ready and self.is_running

    @property
    def is_ready(self) -> bool:
        """Whether the imports are complete."""
        if not self._is_ready:
            self._line.setblocking(False)
            with suppress(BlockingIOError, ConnectionError):
                self._is_ready = bool(self._line.recv(1))
            self._line.setblocking(True)
        return self._is_ready and self.is_running

    def _interrupt(self, worker: int) -> None:
        with suppress(OSError):
            os.kill(worker, signal.SIGINT)
            self._line.settimeout(_INTERRUPT_TIMEOUT_SECONDS)
            _receive_number(self._line)
            return
        self.stop()


@dataclass
class _ServerScope:
    preloaded_modules: Sequence[str]
    server: ForkServer | None = None
    starts_early: bool = False
    """Whether the first worker waits for the server. Otherwise the server is started with it, for the second one."""
    lock: threading.Lock = field(default_factory=threading.Lock)


_scope: _ServerScope | None = None


@contextmanager
def fork_server(preloaded_modules: Sequence[str], *, starts_early: bool = False) -> Iterator[None]:
    """Fork the workers that this process starts inside the block, unless the machine has a GPU.

    `starts_early`: start the server now, during the steps before the first worker.
    """
    global _scope
    if _scope is not None or any(Path(device).exists() for device in _GPU_DEVICES):
        yield
        return
    server = ForkServer(preloaded_modules) if starts_early else None
    _scope = block = _ServerScope(preloaded_modules, server, starts_early)
    try:
        yield
    finally:
        _scope = None
        if block.server is not None:
            block.server.stop()


@contextmanager
def reserve_server() -> Iterator[ForkServer | None]:
    """The enclosing block's server, reserved for one worker. None outside a block, or while the server is busy or starting."""
    block = _scope
    if block is None or not block.lock.acquire(blocking=False):
        yield None
        return
    try:
        if block.server is None or not block.server.is_running:
            block.server = ForkServer(block.preloaded_modules)
        is_ready = block.server.wait_until_ready() if block.starts_early else block.server.is_ready
        yield block.server if is_ready else None
    finally:
        block.lock.release()


def _encode_number(number: int) -> bytes:
    return number.to_bytes(_NUMBER_BYTES, "little", signed=True)


def _receive_number(line: socket.socket) -> int:
    return int.from_bytes(_receive(line, _NUMBER_BYTES), "little", signed=True)


def _receive(line: socket.socket, count: int) -> bytes:
    """Raises ConnectionError if the other side has closed the socket."""
    received = bytearray()
    while len(received) < count:
        part = line.recv(count - len(received))
        if not part:
            raise ConnectionError
        received += part
    return bytes(received)


def _serve(line: socket.socket) -> None:
    while True:
        head, outputs, _, _ = socket.recv_fds(line, _NUMBER_BYTES, 2)
        if not head:
            return
        module, environment = json.loads(_receive(line, int.from_bytes(head, "little", signed=True)))
        server, worker = os.getpid(), os.fork()
        if not worker:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            try:
                _receive(line, len(_GO))
            except ConnectionError:
                raise SystemExit from None  # interrupted before the worker began
            line.close()
            _run_worker(module, {**environment, PARENT_VARIABLE: str(server)}, outputs)
        for output in outputs:
            os.close(output)
        line.sendall(_encode_number(worker))
        _, status = os.waitpid(worker, 0)
        line.sendall(_encode_number(os.waitstatus_to_exitcode(status)))


def _run_worker(module: str, environment: dict[str, str], outputs: list[int]) -> None:
    for standard, output in zip((1, 2), outputs, strict=True):
        os.dup2(output, standard)
        os.close(output)
    os.environ.clear()
    os.environ.update(environment)
    die_with_parent()
    gc.enable()
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    raise SystemExit


def main() -> None:
    gc.disable()  # garbage collection takes a fifth of the import time
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal reaches the whole group
    go_offline()
    use_large_pages()
    number, *imported = sys.argv[1:]
    for name in imported:
        importlib.import_module(name)
    gc.freeze()
    with socket.socket(fileno=int(number)) as line:
        line.sendall(b"r")
        _serve(line)


if __name__ == "__main__":
    main()

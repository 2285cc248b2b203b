"""The program of a confined process: `python -m … MODULE:FUNCTION SETUP`. Confines itself, then calls the function.

The function gets a `Channel` to the process that started it, and arguments. Messages are lines of JSON, because a compromised
process must not be able to send Python objects. What libraries print is discarded: it may quote a file.
"""

import importlib
import json
import os
import sys
from collections.abc import Callable
from typing import IO, Any

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.processes.confinement import Access, ResourceLimits, confine, limit_cpu_time
from fine_tune_assets.core.processes.parent import die_with_parent

OUT_OF_MEMORY = 74
"""Exit status."""
ERROR = "error"
"""Key of a message: the message of an error that the function raised on purpose."""


class Channel:
    """Messages to and from the process that started this one."""

    def __init__(self, requests: IO[bytes], replies: IO[bytes], cpu_seconds: int) -> None:
        self._requests, self._replies, self._cpu_seconds = requests, replies, cpu_seconds

    def send(self, message: dict[str, Any]) -> None:
        self._replies.write(json.dumps(message).encode() + b"\n")
        self._replies.flush()

    def receive(self) -> tuple[dict[str, Any], bytes] | None:
        """The next message and its content. None at the end."""
        line = self._requests.readline()
        if not line:
            return None
        message = json.loads(line)
        return message, self._requests.read(message.pop("content_bytes", 0))

    def start_task(self) -> None:
        """The limit of CPU time counts from here."""
        limit_cpu_time(self._cpu_seconds)


def try_access(channel: Channel, secret: str) -> None:
    """Report whether this process can open a file or list a folder, and create a socket."""
    import socket

    def succeeds(action: Callable[[], object]) -> bool:
        try:
            action()
        except OSError:
            return False
        return True

    reads = succeeds(lambda: os.listdir(secret) if os.path.isdir(secret) else os.open(secret, os.O_RDONLY))
    channel.send({"reads_secret": reads, "opens_socket": succeeds(socket.socket)})


def main(target: str, setup: str) -> None:
    die_with_parent()
    module, _, function = target.partition(":")
    importlib.import_module(module.partition(".")[0])  # found in a folder that can't be listed later
    given = json.loads(setup)
    in_force = confine(Access(**given["access"]), ResourceLimits(**given["limits"]))
    requests, replies = (os.fdopen(os.dup(number), mode) for number, mode in ((0, "rb"), (1, "wb")))
    os.dup2(2, 1)  # a library that prints must not write into the replies
    channel = Channel(requests, replies, given["cpu_seconds"])
    channel.send({"means": sorted(in_force.means)})
    start = channel.receive()
    assert start is not None
    channel.start_task()
    try:
        getattr(importlib.import_module(module), function)(channel, **start[0])
    except MemoryError:
        os._exit(OUT_OF_MEMORY)
    except FineTuneError as error:
        channel.send({ERROR: str(error), "kind": type(error).__name__})


if __name__ == "__main__":
    main(*sys.argv[1:])

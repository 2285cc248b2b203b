"""Reads documents in a process of its own: a file that makes a library crash, hang or eat memory costs only itself.

Owns the process, its limits and the protocol: a JSON line and the bytes go in, a JSON line comes back. JSON, since whatever
takes over the reading process must not be able to send objects. What the libraries print is thrown away: it may quote a report.
"""

import dataclasses
import json
import os
import select
import subprocess
import sys
import time
from datetime import date
from types import TracebackType
from typing import Any

from fine_tune_assets.core.processes.parent import parent_variable
from fine_tune_assets.reports.archives import ReadLimits
from fine_tune_assets.reports.facts import Facts, Found
from fine_tune_assets.reports.identifiers import Identifier, Kind
from fine_tune_assets.reports.ocr import OcrProgram
from fine_tune_assets.reports.unreadable_files import Reason, UnreadableError

_LARGEST_REPLY_BYTES = 200_000_000


class IsolatedDocuments:
    """A ReadDocument whose work is done in a child process, which is started when it is needed first."""

    def __init__(self, limits: ReadLimits, ocr: OcrProgram | None) -> None:
        self._limits = limits
        self._ocr = ocr
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "IsolatedDocuments":
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        self._stop()

    def __call__(self, kind: str, content: bytes) -> Found:
        """Raises UnreadableError, also if the process ends or takes too long: the next document has a new one."""
        try:
            return found_of(self._ask(kind, content))
        except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
            self._stop()
            raise UnreadableError(
                Reason.READER_FAILED,
                "Reading it made the reader crash or need too much memory. Export it in another format.",
            ) from error

    def _ask(self, kind: str, content: bytes) -> dict[str, Any]:
        child = self._child = self._child or self._start()
        assert child.stdin is not None
        header = {"kind": kind, "bytes": len(content), "ocr": None if self._ocr is None else self._ocr.path}
        child.stdin.write(json.dumps(header).encode() + b"\n")
        child.stdin.write(content)
        child.stdin.flush()
        return dict(json.loads(self._reply(child)))

    def _reply(self, child: subprocess.Popen[bytes]) -> bytes:
        assert child.stdout is not None
        until = time.monotonic() + self._limits.document_seconds
        reply = bytearray()
        while not reply.endswith(b"\n"):
            ready, _, _ = select.select([child.stdout], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                self._stop()
                raise UnreadableError(
                    Reason.READER_FAILED, f"Reading it took more than {self._limits.document_seconds:g} s. Split it."
                )
            part = os.read(child.stdout.fileno(), 1_000_000)
            reply += part
            if not part or len(reply) > _LARGEST_REPLY_BYTES:
                raise EOFError
        return bytes(reply)

    def _start(self) -> subprocess.Popen[bytes]:
        limit = str(self._limits.document_memory_bytes)
        return subprocess.Popen(
            [sys.executable, "-m", "fine_tune_assets.reports", limit], env={**os.environ, **parent_variable()},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def _stop(self) -> None:
        if self._child is not None:
            child, self._child = self._child, None
            child.kill()
            child.communicate()


def reply_of(found: Found | UnreadableError) -> dict[str, Any]:
    """What the child sends."""
    if isinstance(found, UnreadableError):
        return {"reason": found.reason.value, "detail": found.detail}
    reply = dataclasses.asdict(found)
    written = found.facts.written_on
    reply["facts"]["written_on"] = None if written is None else written.isoformat()
    return reply


def found_of(reply: dict[str, Any]) -> Found:
    """What the parent makes of it. Raises UnreadableError; KeyError, TypeError or ValueError for anything else."""
    if "reason" in reply:
        raise UnreadableError(Reason(reply["reason"]), str(reply["detail"]))
    facts = dict(reply.pop("facts"))
    identifiers = tuple(Identifier(Kind(item["kind"]), str(item["value"])) for item in facts.pop("identifiers"))
    written = facts.pop("written_on")
    written_on = None if written is None else date.fromisoformat(written)
    return Found(**reply, facts=Facts(**facts, identifiers=identifiers, written_on=written_on))

"""Reads documents in a subprocess, so that a file that crashes or hangs a parser can't fail its batch.

A request is a JSON line and the document's bytes; the reply is a JSON line. The protocol is JSON because a compromised reader
must not be able to send Python objects. Library output is discarded: it may quote a report.
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

from fine_tune_assets.core.processes.parent import parent_environment
from fine_tune_assets.reports.archives import ReadLimits
from fine_tune_assets.reports.ocr import OcrProgram
from fine_tune_assets.reports.report_metadata import ParsedReport, ReportMetadata
from fine_tune_assets.reports.stated_identifiers import Identifier, IdentifierKind
from fine_tune_assets.reports.unreadable_files import UnreadableError, UnreadableReason

_MAX_REPLY_BYTES = 200_000_000


class IsolatedReader:
    """A ReadDocument that starts its subprocess on first use."""

    def __init__(self, limits: ReadLimits, ocr: OcrProgram | None) -> None:
        self._limits = limits
        self._ocr = ocr
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "IsolatedReader":
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        self._stop()

    def __call__(self, kind: str, content: bytes) -> ParsedReport:
        """Raises UnreadableError, also after a crash or timeout; the next document starts a new subprocess."""
        try:
            return decode_reply(self._send_request(kind, content))
        except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
            self._stop()
            raise UnreadableError(
                UnreadableReason.READER_FAILED,
                "The reader crashed or ran out of memory. Export the file in another format.",
            ) from error

    def _send_request(self, kind: str, content: bytes) -> dict[str, Any]:
        child = self._child = self._child or self._start()
        assert child.stdin is not None
        header = {"kind": kind, "bytes": len(content), "ocr": None if self._ocr is None else self._ocr.path}
        child.stdin.write(json.dumps(header).encode() + b"\n")
        child.stdin.write(content)
        child.stdin.flush()
        return dict(json.loads(self._read_reply(child)))

    def _read_reply(self, child: subprocess.Popen[bytes]) -> bytes:
        assert child.stdout is not None
        until = time.monotonic() + self._limits.document_timeout_seconds
        reply = bytearray()
        while not reply.endswith(b"\n"):
            ready, _, _ = select.select([child.stdout], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                self._stop()
                raise UnreadableError(
                    UnreadableReason.READER_FAILED,
                    f"The reader timed out after {self._limits.document_timeout_seconds:g} s. Split the file.",
                )
            part = os.read(child.stdout.fileno(), 1_000_000)
            reply += part
            if not part or len(reply) > _MAX_REPLY_BYTES:
                raise EOFError
        return bytes(reply)

    def _start(self) -> subprocess.Popen[bytes]:
        limit = str(self._limits.max_document_memory_bytes)
        return subprocess.Popen(
            [sys.executable, "-m", "fine_tune_assets.reports", limit], env={**os.environ, **parent_environment()},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def _stop(self) -> None:
        if self._child is not None:
            child, self._child = self._child, None
            child.kill()
            child.communicate()


def encode_reply(outcome: ParsedReport | UnreadableError) -> dict[str, Any]:
    """Encode the outcome as the subprocess's reply."""
    if isinstance(outcome, UnreadableError):
        return {"reason": outcome.reason.value, "detail": outcome.detail}
    reply = dataclasses.asdict(outcome)
    written = outcome.metadata.written_on
    reply["metadata"]["written_on"] = None if written is None else written.isoformat()
    return reply


def decode_reply(reply: dict[str, Any]) -> ParsedReport:
    """Decode a reply. Raises UnreadableError for a reported error, and KeyError, TypeError or ValueError if malformed."""
    if "reason" in reply:
        raise UnreadableError(UnreadableReason(reply["reason"]), str(reply["detail"]))
    metadata = dict(reply.pop("metadata"))
    identifiers = tuple(
        Identifier(IdentifierKind(item["kind"]), str(item["value"])) for item in metadata.pop("identifiers")
    )
    written = metadata.pop("written_on")
    written_on = None if written is None else date.fromisoformat(written)
    return ParsedReport(**reply, metadata=ReportMetadata(**metadata, identifiers=identifiers, written_on=written_on))

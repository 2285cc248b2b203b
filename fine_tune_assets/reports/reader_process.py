"""The confined side of isolated_reader.py: reads every format, archives and YAML, without keys, network and file system.

It asks for each file's bytes by name, and says which file it is working on, so that a file that ends it can be left out.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fine_tune_assets.core.processes.confined_worker import Channel
from fine_tune_assets.reports.archives import ArchiveLimits, ReadLimits
from fine_tune_assets.reports.batch_file import read_batch_file
from fine_tune_assets.reports.batches import BATCH_FILE, BatchFiles, IgnoreReason
from fine_tune_assets.reports.formats.document_formats import read_document
from fine_tune_assets.reports.ocr import OcrProgram
from fine_tune_assets.reports.reader_messages import (
    FILE,
    FINISHED,
    MAX_BYTES,
    OUTCOME,
    READ,
    REJECTED,
    SOURCE,
    decode_error,
    encode_error,
    encode_outcome,
    encode_report,
)
from fine_tune_assets.reports.report_metadata import ParsedReport
from fine_tune_assets.reports.report_readers import BatchReader
from fine_tune_assets.reports.unreadable_files import UnreadableError


def serve(channel: Channel, limits: dict[str, Any], ocr: str | None) -> None:
    """Read documents and batches until the other side closes the channel."""
    archives = ArchiveLimits(**limits.pop("archives"))
    process = _ReaderProcess(channel, ReadLimits(**limits, archives=archives), None if ocr is None else OcrProgram(ocr))
    while (request := channel.receive()) is not None:
        task, content = request
        channel.start_task()
        if "kind" in task:
            process.read_one(task["kind"], content)
        else:
            process.read_batch(**task)


class _ReaderProcess:
    def __init__(self, channel: Channel, limits: ReadLimits, ocr: OcrProgram | None) -> None:
        self._channel, self._limits, self._ocr = channel, limits, ocr

    def read_one(self, kind: str, content: bytes) -> None:
        try:
            message = encode_report(self._read_document(kind, content))
        except UnreadableError as error:
            message = encode_error(error)
        self._channel.send(message)

    def read_batch(
        self,
        batch: str,
        is_subject_required: bool,
        readable: list[str],
        ignored: dict[str, str],
        sizes: dict[str, int | None],
        refused: dict[str, Any],
        start: int,
    ) -> None:
        """Send the batch's source, then the outcomes and the end of each file from number `start` on."""
        errors = {Path(name): decode_error(error) for name, error in refused.items()}

        def start_file(path: Path) -> None:
            self._channel.send({FILE: str(path)})
            self._channel.start_task()
            if path in errors:
                raise errors[path]

        files = BatchFiles(
            tuple(map(Path, readable)), {Path(name): IgnoreReason(reason) for name, reason in ignored.items()}
        )
        contents = _RequestedContents(self._channel, files, sizes)
        reader = BatchReader(
            self._limits, self._read_document, batch, is_subject_required=is_subject_required, start_file=start_file
        )
        try:
            start_file(Path(BATCH_FILE))
            about = read_batch_file(contents)
        except UnreadableError as error:
            self._channel.send({REJECTED: encode_error(error)})
            return
        self._channel.send({SOURCE: about.source})
        for position, outcomes in reader.read_files(contents, about, start):
            for outcome in outcomes:
                self._channel.send({OUTCOME: encode_outcome(outcome)})
            found = {str(path): reason.value for path, reason in reader.ignored.items()}
            self._channel.send({FINISHED: position, "files": reader.files, "ignored": found})
            reader.files, reader.ignored = 0, {}
        self._channel.send({FINISHED: len(readable)})

    def _read_document(self, kind: str, content: bytes) -> ParsedReport:
        return read_document(kind, content, self._ocr)


class _RequestedContents:
    """The files of a batch folder, whose bytes the other side reads."""

    def __init__(self, channel: Channel, files: BatchFiles, sizes: Mapping[str, int | None]) -> None:
        self.files, self._channel, self._sizes = files, channel, sizes

    def read(self, path: Path, max_bytes: int) -> bytes:
        """Raises UnreadableError."""
        self._channel.send({READ: str(path), MAX_BYTES: max_bytes})
        answer = self._channel.receive()
        if answer is None:
            raise EOFError
        error, content = answer
        if error:
            raise decode_error(error)
        return content

    def size(self, path: Path) -> int | None:
        return self._sizes.get(str(path))

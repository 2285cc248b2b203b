"""Reads batches and documents in a confined process, so that a file can neither stop the platform nor reach its keys.

A file that ends the process, or exceeds its limits, is left out by name; the others are read by a new process.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from fine_tune_assets.core.processes.confined_process import (
    ConfinedProcess,
    ConfinedProcessError,
    Failure,
    ProcessLimits,
)
from fine_tune_assets.core.processes.confinement import Access
from fine_tune_assets.reports.archives import ReadLimits
from fine_tune_assets.reports.batch_file import BatchFile
from fine_tune_assets.reports.batches import BATCH_FILE, IgnoreReason
from fine_tune_assets.reports.file_contents import Contents
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
    decode_outcome,
    decode_report,
    encode_error,
)
from fine_tune_assets.reports.reader_process import serve
from fine_tune_assets.reports.report_metadata import ParsedReport
from fine_tune_assets.reports.report_readers import RecordOutcome, reject_files
from fine_tune_assets.reports.unreadable_files import UnreadableError, UnreadableReason

_MAX_OUTPUT_BYTES = 200_000_000
_ADVICE = {
    Failure.TIMED_OUT: "took too long. Split the file.",
    Failure.CPU_TIME: "used too much CPU time. Split the file.",
    Failure.OUT_OF_MEMORY: "ran out of memory. Split the file.",
    Failure.TOO_MUCH_OUTPUT: "found too much text. Split the file.",
    Failure.CRASHED: "crashed. Export the file in another format.",
}


@dataclass
class BatchReading:
    """What the files of a batch contain."""

    source: str
    outcomes: list[RecordOutcome] = field(default_factory=list)
    files: int = 0
    """Files in the folder and its archives."""
    ignored: dict[Path, IgnoreReason] = field(default_factory=dict)
    rejection: UnreadableError | None = None
    """Why no file was read, if `batch.yaml` is invalid."""


class IsolatedReader:
    """Starts its process on first use, and again after a failure."""

    def __init__(self, limits: ReadLimits, ocr: OcrProgram | None) -> None:
        self._limits, self._ocr = limits, ocr
        self._process: ConfinedProcess | None = None

    def __enter__(self) -> "IsolatedReader":
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        self._stop()

    @property
    def process_id(self) -> int | None:
        return None if self._process is None else self._process.id

    def __call__(self, kind: str, content: bytes) -> ParsedReport:
        """Read one document. Raises UnreadableError, also after a crash or timeout."""
        try:
            process = self._start()
            process.send({"kind": kind}, content)
            return decode_report(process.receive())
        except ConfinedProcessError as error:
            self._stop()
            raise _refuse(error.failure) from error
        except (ValueError, KeyError, TypeError) as error:
            self._stop()
            raise _refuse(Failure.CRASHED) from error

    def read_batch(self, contents: Contents, batch: str, *, is_subject_required: bool) -> BatchReading:
        """Read every file of a batch in name order. Raises ConfinedProcessError if the process can't start."""
        reading = _ReadingInProgress(contents, batch, is_subject_required)
        while not reading.is_complete:
            try:
                reading.resume(self._start())
            except (ConfinedProcessError, ValueError, KeyError, TypeError, UnreadableError) as error:
                self._stop()
                reading.refuse_current(error)
        return reading.result

    def _start(self) -> ConfinedProcess:
        if self._process is None:
            limits = ProcessLimits(
                seconds=self._limits.file_timeout_seconds,
                cpu_seconds=self._limits.file_cpu_seconds,
                memory_bytes=self._limits.max_memory_bytes,
                output_bytes=_MAX_OUTPUT_BYTES,
            )
            ocr = None if self._ocr is None else self._ocr.path
            access = Access(readable=() if self._ocr is None else self._ocr.folders)
            self._process = ConfinedProcess(serve, {"limits": asdict(self._limits), "ocr": ocr}, limits, access)
        self._process.extend_deadline()
        return self._process

    def _stop(self) -> None:
        if self._process is not None:
            process, self._process = self._process, None
            process.stop()


class _ReadingInProgress:
    """The reading of a batch over several processes: where it is, and which files ended a process."""

    def __init__(self, contents: Contents, batch: str, is_subject_required: bool) -> None:
        files = contents.files
        self._contents, self._known = contents, {*files.readable, *files.ignored}
        self._task = {
            "batch": batch,
            "is_subject_required": is_subject_required,
            "readable": [str(path) for path in files.readable],
            "ignored": {str(path): reason.value for path, reason in files.ignored.items()},
            "sizes": {str(path): contents.size(path) for path in files.readable},
        }
        self._refused: dict[Path, UnreadableError] = {}
        self._finished, self._current = 0, Path()
        self._outcomes: list[RecordOutcome] = []
        """Of the file in progress."""
        self.is_complete = False
        self.result = BatchReading(BatchFile().source, files=files.count, ignored=dict(files.ignored))

    def resume(self, process: ConfinedProcess) -> None:
        """Read on from the file that is not finished. Raises the errors of `decode_outcome`, and ConfinedProcessError."""
        self._outcomes, self._current = [], Path()
        refused = {str(path): encode_error(error) for path, error in self._refused.items()}
        process.send({**self._task, "refused": refused, "start": self._finished})
        while not self.is_complete:
            self._handle(process, process.receive())

    def refuse_current(self, error: Exception) -> None:
        """Leave out the file that ended the process. Raises the error if no file did."""
        if self._current == Path() or self._current in self._refused:
            raise error
        failure = error.failure if isinstance(error, ConfinedProcessError) else Failure.CRASHED
        self._refused[self._current] = _refuse(failure)

    def _handle(self, process: ConfinedProcess, message: dict[str, Any]) -> None:
        if READ in message:
            self._answer(process, Path(message[READ]), int(message[MAX_BYTES]))
        elif FILE in message:
            self._current = Path(message[FILE])
            process.extend_deadline()
        elif OUTCOME in message:
            self._outcomes.append(self._require_own(decode_outcome(message[OUTCOME])))
        elif SOURCE in message:
            self.result.source = str(message[SOURCE])
        elif REJECTED in message:
            self.result.rejection = decode_error(message[REJECTED])
            self.result.outcomes = reject_files(self._contents, Path(BATCH_FILE), self.result.rejection)
            self.result.ignored.pop(Path(BATCH_FILE), None)
            self.is_complete = True
        else:
            self._finish(message)

    def _answer(self, process: ConfinedProcess, path: Path, max_bytes: int) -> None:
        """Only files of the batch are read for the process."""
        if path not in self._known:
            raise ValueError("not a file of the batch")
        try:
            content = self._contents.read(path, max_bytes)
        except UnreadableError as error:
            process.send(encode_error(error))
        else:
            process.send({}, content)

    def _require_own(self, outcome: RecordOutcome) -> RecordOutcome:
        if not outcome.path.is_relative_to(self._contents.files.readable[self._finished]):
            raise ValueError("not the file in progress")
        return outcome

    def _finish(self, message: dict[str, Any]) -> None:
        self.is_complete = message[FINISHED] == len(self._contents.files.readable)
        if self.is_complete:
            return
        if message[FINISHED] != self._finished:
            raise ValueError("not the file in progress")
        self.result.outcomes += self._outcomes
        self.result.files += int(message["files"])
        self.result.ignored |= {Path(path): IgnoreReason(reason) for path, reason in message["ignored"].items()}
        self._finished += 1
        self._outcomes = []


def _refuse(failure: Failure) -> UnreadableError:
    return UnreadableError(UnreadableReason.READER_FAILED, f"The reader {_ADVICE[failure]}")

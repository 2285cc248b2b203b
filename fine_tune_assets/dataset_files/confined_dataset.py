"""Reads a data set in a confined process, because a stranger wrote its files: rows come back as data, in batches.

A file that exceeds a limit or ends the process makes the whole data set unusable, as a damaged file does.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fine_tune_assets.core.processes.confined_process import ConfinedProcess, ConfinedProcessError, ProcessLimits
from fine_tune_assets.core.processes.confinement import Access, include_hub_blobs
from fine_tune_assets.dataset_files.dataset_process import row_adapter, send_dataset
from fine_tune_assets.dataset_files.dataset_reader import Dataset, DatasetFile, list_files
from fine_tune_assets.dataset_files.dataset_rows import DatasetError, DatasetRow
from fine_tune_assets.dataset_files.file_rows import KINDS

DATASET_LIMITS = ProcessLimits(seconds=120, cpu_seconds=60, memory_bytes=4_000_000_000, output_bytes=500_000_000)
"""For one batch of rows, and for finding the formats."""


@dataclass(frozen=True)
class ConfinedDataset(Dataset):
    request: Mapping[str, Any]
    limits: ProcessLimits
    opened: list[Iterator[dict[str, Any]]] = field(repr=False, compare=False)
    """The messages of the process that found the files: it waits to send their rows."""

    def rows(self) -> Iterator[DatasetRow]:
        """Every row. Raises DatasetError if a file is damaged."""
        messages = self.opened.pop() if self.opened else islice(_read(self.request, self.limits), 1, None)
        for message in messages:
            try:
                yield from row_adapter().validate_python(message["rows"])
            except ValidationError:
                raise DatasetError("The process that reads the data set sent damaged rows. Import it again.") from None


def open_confined_dataset(
    path: Path,
    row_format: str | None = None,
    columns: Mapping[str, str] | None = None,
    subject_column: str | None = None,
    limits: ProcessLimits = DATASET_LIMITS,
) -> Dataset:
    """`open_dataset`, in a confined process. Raises DatasetError."""
    path = path.absolute()
    request: dict[str, Any] = {
        "path": str(path),
        "row_format": row_format,
        "columns": dict(columns or {}),
        "subject_column": subject_column,
    }
    messages = _read(request, limits)
    found, listed = next(messages), list_files(path)
    files = tuple(
        DatasetFile(
            listed[file["name"]], file["name"], KINDS[file["kind"]], file["format"], request["columns"], subject_column
        )
        for file in found["files"]
    )
    return ConfinedDataset(files, tuple(found["ignored"]), request, limits, [messages])


def _read(request: Mapping[str, Any], limits: ProcessLimits) -> Iterator[dict[str, Any]]:
    path = Path(request["path"])
    access = Access(readable=include_hub_blobs(path))
    try:
        with ConfinedProcess(send_dataset, dict(request), limits, access) as process:
            for message in process.messages(DatasetError):
                yield message
                process.extend_deadline()
    except ConfinedProcessError as error:
        raise DatasetError(
            f"{path.name} can't be imported: reading it {error.failure.value}. Split its files, or export them again."
        ) from error

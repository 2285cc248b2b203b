"""Imports a data set as a batch of reports, so that its rows become drafts: one report a row.

The batch is a folder like any other, with

    rows-001.jsonl   the rows, in as many files as the size limit requires
    batch.yaml       source, and the columns
    SOURCE.md        name, licence, files with their hashes, and counts
    .refused.csv     file, row and reason

All or nothing: the folder appears when it is complete.
"""

import csv
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.files import atomic_folder, write_text
from fine_tune_assets.dataset_files.dataset_reader import Dataset
from fine_tune_assets.dataset_files.dataset_rows import Conversation, DatasetCounts, DatasetRow, Refusal
from fine_tune_assets.dataset_files.import_records import REFUSED, REFUSED_COLUMNS, import_record, text_file
from fine_tune_assets.dataset_files.row_reports import INPUT, INSTRUCTION, OUTPUT, refuse_unusable
from fine_tune_assets.reports.batches import BATCH_FILE, is_batch_name

_SECTIONS = {"instruction": INSTRUCTION, "input": INPUT, "output": OUTPUT}


class DraftImportError(FineTuneError):
    """A data set can't become a batch."""


@dataclass(frozen=True)
class DraftImport:
    """Where a data set is imported to, and what is recorded about it."""

    root: Path
    """The folder of raw reports."""
    name: str
    source: str
    licence: str
    """Empty if it is the organization's own."""
    max_file_bytes: int = 40_000_000
    """Below the limit of a batch's files."""

    @property
    def folder(self) -> Path:
        return self.root / self.name


def require_importable(wanted: DraftImport) -> None:
    """Raise DraftImportError unless name and source can be used."""
    if not is_batch_name(wanted.name):
        raise DraftImportError(
            f"{wanted.name} can't be the name of a batch. Choose another --name of letters, digits, _ and -."
        )
    if wanted.folder.exists():
        raise DraftImportError(f"raw_reports/{wanted.name} exists. Choose another --name.")
    if not 1 <= len(wanted.source) <= 100:
        raise DraftImportError("The source needs 1 to 100 characters, such as `--source faq`.")


def require_rows(counts: DatasetCounts) -> None:
    """Raise DraftImportError if there is nothing to import."""
    if not counts.conversations:
        reasons = ", ".join(f"{count} {reason}" for reason, count in counts.refused.most_common())
        raise DraftImportError(f"None of {counts.rows} rows can become a draft: {reasons or 'the data set is empty'}.")


def import_drafts(dataset: Dataset, wanted: DraftImport) -> DatasetCounts:
    """Write the rows to a new batch folder. Raises DraftImportError or DatasetError; then nothing is written."""
    require_importable(wanted)
    with atomic_folder(wanted.folder) as folder:
        counts = _write_rows(dataset, folder, wanted)
        require_rows(counts)
        columns = {"report_id": "id", "subject_id": "subject", "sections": _SECTIONS}
        about = {"source": wanted.source, "records": columns}
        write_text(folder / BATCH_FILE, yaml.safe_dump(about, sort_keys=False, allow_unicode=True))
        write_text(folder / "SOURCE.md", _describe(dataset, wanted, counts))
        require_importable(wanted)  # another import may have ended meanwhile
    return counts


def _write_rows(dataset: Dataset, folder: Path, wanted: DraftImport) -> DatasetCounts:
    counts = DatasetCounts()
    with ExitStack() as open_files:
        refused = open_files.enter_context(text_file(folder / f".{REFUSED}"))
        table = csv.writer(refused)
        table.writerow(REFUSED_COLUMNS)
        size, part, rows_file = 0, 0, None
        for row_id, row in _numbered(refuse_unusable(dataset.rows()), dataset):
            counts.add(row)
            if isinstance(row.content, Refusal):
                table.writerow([row.file, row.number, row.content.value])
            if not isinstance(row.content, Conversation):
                continue
            line = (
                json.dumps(
                    _as_record(row_id, row.content, row.subject or f"{wanted.name}/{row_id}"), ensure_ascii=False
                )
                + "\n"
            )
            if rows_file is None or size + len(line.encode()) > wanted.max_file_bytes:
                size, part = 0, part + 1
                rows_file = open_files.enter_context(text_file(folder / f"rows-{part:03}.jsonl"))
            size += len(line.encode())
            rows_file.write(line)
    return counts


def _numbered(rows: Iterator[DatasetRow], dataset: Dataset) -> Iterator[tuple[str, DatasetRow]]:
    """Each row with its report id: number of the file and of the row, and of the instance if a row has several."""
    places = {file.name: number for number, file in enumerate(dataset.files, start=1)}
    instances: Counter[int] = Counter()
    current = ""
    for row in rows:
        if row.file != current:
            current, instances = row.file, Counter()
        instances[row.number] += 1
        again = f"-{instances[row.number]}" if instances[row.number] > 1 else ""
        yield f"file{places[row.file]}-row{row.number}{again}", row
        del instances[row.number - 1]


def _as_record(row_id: str, one: Conversation, subject: str) -> dict[str, Any]:
    """An empty instruction gives way to the input, so that no draft lacks a question."""
    asks_with_input = not one.instruction.strip()
    instruction, input_text = (one.input, "") if asks_with_input else (one.instruction, one.input)
    return {"id": row_id, "subject": subject, "instruction": instruction, "input": input_text, "output": one.output}


def _describe(dataset: Dataset, wanted: DraftImport, counts: DatasetCounts) -> str:
    return (
        f"# {wanted.source}\n\nImported as drafts. "
        f"Licence: {wanted.licence or 'not stated'}.\n\n```yaml\n{import_record(dataset, counts)}```\n"
    )

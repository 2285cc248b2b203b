"""Opens a data set, a file or a folder of files, and finds the format of each file by its rows. Yields what each row contains."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from fine_tune_assets.core.processes.confinement import include_hub_blobs
from fine_tune_assets.dataset_files.dataset_rows import DatasetError, DatasetRow, Refusal, RowRefusedError
from fine_tune_assets.dataset_files.file_rows import CSV, FileKind, FileRow, find_kind, read_rows
from fine_tune_assets.dataset_files.row_formats import COLUMNS, FORMATS, parse_row

_SAMPLE_ROWS = 100
_MAX_LISTED = 20
_CSV_ENDINGS = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
_OTHER_FILES = re.compile(r"(?:dataset_infos?|dataset_dict|state)\.json|cache-.*\.arrow|refused\.csv|import\.yaml")
"""Metadata of `datasets`, and our records of an import."""
_COLUMN_NAME = re.compile(r"[\w .:/-]{1,40}")


@dataclass(frozen=True)
class DatasetFile:
    path: Path
    name: str
    """Relative to the folder that was opened."""
    kind: FileKind
    format: str
    columns: Mapping[str, str] = field(default_factory=dict)
    """Column of the format → column of the file; empty if the file uses the format's names."""
    subject_column: str | None = None

    def rows(self) -> Iterator[DatasetRow]:
        """Every row. Raises DatasetError if the file is damaged."""
        rows = read_rows(self.path, self.kind)
        return parse_rows(self.name, rows, self.format, self.columns, self.subject_column)


@dataclass(frozen=True)
class Dataset:
    files: tuple[DatasetFile, ...]
    ignored: tuple[str, ...]
    """Names of files without data."""

    def rows(self) -> Iterator[DatasetRow]:
        for file in self.files:
            yield from file.rows()


def open_dataset(
    path: Path,
    row_format: str | None = None,
    columns: Mapping[str, str] | None = None,
    subject_column: str | None = None,
) -> Dataset:
    """Find the files and their formats. Raises DatasetError if there are none, or the format of one is not clear."""
    columns = columns or {}
    _require_known(row_format, columns)
    listed = list_files(path)
    kinds = {name: kind for name, file in listed.items() if (kind := _data_kind(file, name, path)) is not None}
    formats = {
        name: row_format or _detect_format(name, read_rows(listed[name], kind), columns) for name, kind in kinds.items()
    }
    files = tuple(
        DatasetFile(listed[name], name, kinds[name], found, columns, subject_column)
        for name, found in formats.items()
        if found
    )
    if not files:
        raise DatasetError(
            f"{path.name} has no rows in JSON Lines, a JSON array, CSV, TSV, Parquet or Arrow. Name a file or folder that has."
        )
    return Dataset(files, tuple(name for name in listed if not formats.get(name)))


def parse_rows(
    file: str,
    rows: Iterable[FileRow],
    row_format: str,
    columns: Mapping[str, str] | None = None,
    subject_column: str | None = None,
) -> Iterator[DatasetRow]:
    """What each row contains. A row is refused if it is faulty, not in the format, or lacks a subject in `subject_column`."""
    for number, value in rows:
        subject = None
        try:
            row = _require_object(value)
            contents: list[Any] = parse_row(row_format, _rename(row, columns or {}))
            subject = None if subject_column is None else _read_subject(row.get(subject_column))
        except RowRefusedError as refused:
            contents = [refused.reason]
        # A task without instances is faulty too.
        yield from (DatasetRow(file, number, content, subject) for content in contents or [Refusal.EMPTY])


def _read_subject(value: Any) -> str:
    is_scalar = isinstance(value, str | int | float) and not isinstance(value, bool)
    is_fraction = isinstance(value, float) and not value.is_integer()
    text = str(int(value) if isinstance(value, float) and not is_fraction else value) if is_scalar else ""
    subject = " ".join(text.split())
    if not subject or is_fraction or not subject.isprintable():
        raise RowRefusedError(Refusal.NO_SUBJECT)
    return subject


def _require_known(row_format: str | None, columns: Mapping[str, str]) -> None:
    if row_format is not None and row_format not in FORMATS:
        raise DatasetError(f"The format {row_format} is unknown. Known: {', '.join(FORMATS)}.")
    unknown = sorted(set(columns) - set(COLUMNS))
    if unknown:
        raise DatasetError(f"No format has the column {', '.join(unknown)}. Columns to name: {', '.join(COLUMNS)}.")


def list_files(path: Path) -> dict[str, Path]:
    """Name → file, in sorted order, without hidden files and folders. Raises DatasetError for a link that leads out of it, except
    in a cache of the Hugging Face hub."""
    if path.is_file():
        return {path.name: path}
    files = {file.relative_to(path): file for file in sorted(path.rglob("*")) if file.is_file()}
    allowed = [Path(folder).resolve() for folder in include_hub_blobs(path)]
    outside = [name for name, file in files.items() if not any(map(file.resolve().is_relative_to, allowed))]
    if outside:
        raise DatasetError(
            f"{path.name} contains {len(outside)} links to files outside of it, which may be confidential. If they belong to the "
            "data set, copy the folder with `cp -rL` and import the copy."
        )
    return {
        name.as_posix(): file for name, file in files.items() if not any(part.startswith(".") for part in name.parts)
    }


def _data_kind(file: Path, name: str, opened: Path) -> FileKind | None:
    """In a folder, text is CSV only by its name, because licences and notes contain commas too."""
    if file != opened and _OTHER_FILES.fullmatch(file.name):
        return None
    kind = find_kind(file)
    is_note = file != opened and kind is not None and kind.name == CSV and not name.endswith(_CSV_ENDINGS)
    return None if is_note else kind


def _require_object(value: Any) -> Mapping[str, Any]:
    if isinstance(value, Refusal):
        raise RowRefusedError(value)
    if not isinstance(value, Mapping):
        raise RowRefusedError(Refusal.NOT_AN_OBJECT)
    return value


def _rename(row: Mapping[str, Any], columns: Mapping[str, str]) -> Mapping[str, Any]:
    return {name: row.get(theirs) for name, theirs in columns.items()} if columns else row


def _detect_format(name: str, rows: Iterator[FileRow], columns: Mapping[str, str]) -> str | None:
    """The format that most of the first rows fit; None without rows. Raises DatasetError if none or several fit."""
    first = [value for _, value in islice(rows, _SAMPLE_ROWS)]
    if not first:
        return None
    sample = [value for value in first if isinstance(value, Mapping)]
    fitting = Counter(
        key for row in sample for key, one in FORMATS.items() if one.fits(_rename(row, columns))
    ).most_common()
    best = [key for key, count in fitting if count == fitting[0][1]]
    if len(best) == 1:
        return best[0]
    found = f"{name} fits {' and '.join(best) if best else 'no format'}; its columns are {_list_columns(sample)}."
    if best:
        raise DatasetError(f"{found} Choose with `--format`.")
    raise DatasetError(
        f"{found} Name the columns, such as `--columns instruction=QUESTION,output=ANSWER`, or choose with `--format` "
        f"({', '.join(FORMATS)})."
    )


def _list_columns(sample: Iterable[Mapping[str, Any]]) -> str:
    """Only names that look like names, because a file without header has texts in their place."""
    names = list(dict.fromkeys(key for row in sample for key in row))
    shown = [name if _COLUMN_NAME.fullmatch(name) else "(no name)" for name in names[:_MAX_LISTED]]
    more = [f"and {len(names) - _MAX_LISTED} more"] if len(names) > _MAX_LISTED else []
    return ", ".join([*shown, *more]) or "unknown, because no row can be read"

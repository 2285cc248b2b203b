"""Reads text files as one report each, and CSV rows and JSONL lines as one report each.

A text file may begin with front matter (keys: report_metadata.py). batch.yaml maps columns to report fields; a bad row does not
affect the others.
"""

import csv
from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import Any

from fine_tune_assets.core.strict_parsing import load_json, parse_finite
from fine_tune_assets.quantities.metadata_dates import read_first_day
from fine_tune_assets.reports.batch_file import RecordColumns
from fine_tune_assets.reports.file_contents import decode_text, require_text
from fine_tune_assets.reports.formats.markdown_headings import find_markdown_headings
from fine_tune_assets.reports.heading_marks import MarkedLine
from fine_tune_assets.reports.report_metadata import (
    MetadataError,
    ParsedRecords,
    ParsedReport,
    ReportMetadata,
    parse_metadata,
)
from fine_tune_assets.reports.stated_identifiers import Identifier, IdentifierKind, read_id, read_values, validate_id
from fine_tune_assets.reports.unreadable_files import UnreadableError, UnreadableReason

_FENCE = "---"
COLUMN_LEVEL = 1
"""Level of the heading that `batch.yaml` gives to a column."""


def read_text_report(content: bytes, *, is_markdown: bool) -> ParsedReport:
    """Raises UnreadableError."""
    metadata, text = split_front_matter(decode_text(content))
    if not text.strip():
        raise UnreadableError(UnreadableReason.EMPTY, "The file contains no text below its front matter.")
    return ParsedReport(text, metadata, headings=find_markdown_headings(text) if is_markdown else ())


def split_front_matter(text: str) -> tuple[ReportMetadata, str]:
    """Return the metadata of the front matter, empty if there is none, and the remaining text. Raises UnreadableError."""
    first, _, rest = text.partition("\n")
    if first.rstrip() != _FENCE:
        return ReportMetadata(), text
    lines = rest.split("\n")
    end = next((number for number, line in enumerate(lines) if line.rstrip() == _FENCE), None)
    if end is None:
        raise _front_matter_error("The closing --- line is missing.")
    try:
        return parse_metadata("\n".join(lines[:end])), "\n".join(lines[end + 1 :])
    except MetadataError as error:
        raise _front_matter_error(str(error)) from error


def _front_matter_error(detail: str) -> UnreadableError:
    return UnreadableError(UnreadableReason.BAD_FRONT_MATTER, f"The front matter is invalid. {detail}")


MAX_NAMES_SHOWN = 10
DELIMITERS = (",", ";", "\t", "|")
_MAX_CELL_CHARACTERS = 100_000_000
Row = Mapping[str, Any]


def read_records(content: bytes, suffix: str, columns: RecordColumns) -> ParsedRecords:
    """Yield each row's number, from 1, with its report or error.

    Raises UnreadableError if no row can be read.
    """
    rows = _iter_csv_rows(content, columns) if suffix == ".csv" else _iter_json_rows(content)
    has_rows = False
    for number, row in rows:
        has_rows = True
        try:
            yield number, row if isinstance(row, UnreadableError) else _parse_report(row, columns)
        except UnreadableError as error:
            yield number, error
    if not has_rows:
        raise UnreadableError(UnreadableReason.EMPTY, "The file contains no rows.")


def _iter_csv_rows(content: bytes, columns: RecordColumns) -> Iterator[tuple[int, Row | UnreadableError]]:
    text = decode_text(content)
    rows = _iter_csv_cells(text, _find_delimiter(text, columns))
    _, header = next(rows)
    if isinstance(header, int):
        raise _record_error("The header line can't be split into cells. Check its quotes.")
    missing = [name for name in columns.required_columns if name not in header]
    if missing:
        raise UnreadableError(
            UnreadableReason.MISSING_COLUMN,
            _describe_missing(missing, columns, "header line"),
        )
    if any(header.count(name) > 1 for name in columns.required_columns):
        raise _record_error("Two columns in the header line have the same name.")
    filled = ((line, cells) for line, cells in rows if cells != [])
    for number, (line, cells) in enumerate(filled, start=1):
        yield number, _parse_csv_row(line, cells, header)


def _describe_missing(missing: list[str], columns: RecordColumns, place: str) -> str:
    """By the names in batch.yaml, which are of this installation's tables, not of a subject."""
    shown = ", ".join(name[:60] for name in missing[:MAX_NAMES_SHOWN]) + (
        f" and {len(missing) - MAX_NAMES_SHOWN} more" if len(missing) > MAX_NAMES_SHOWN else ""
    )
    text = f"{len(missing)} of {len(columns.required_columns)} columns named in batch.yaml are missing from the {place}: {shown}."
    if len(missing) == len(columns.required_columns):
        text += " None was found: batch.yaml may describe another file."
    return text


def _parse_csv_row(line: int, cells: list[str] | int, header: list[str]) -> Row | UnreadableError:
    if isinstance(cells, int):
        return _record_error(
            f"The row at line {line} can't be split into cells; it and the {cells} lines after it were not read. "
            "Fix its quotes."
        )
    if len(cells) != len(header):
        return _record_error(f"The row at line {line} has {len(cells)} cells instead of {len(header)}.")
    return dict(zip(header, cells, strict=True))


def _find_delimiter(text: str, columns: RecordColumns) -> str:
    """The delimiter that splits the header line into the most columns of batch.yaml; a comma if none does."""
    first = text.partition("\n")[0]

    def count_found(delimiter: str) -> int:
        try:
            header = next(csv.reader([first], delimiter=delimiter, strict=True), [])
        except csv.Error:
            return 0
        return len({*header} & {*columns.required_columns})

    return max(DELIMITERS, key=count_found)


def _iter_csv_cells(text: str, delimiter: str) -> Iterator[tuple[int, list[str] | int]]:
    """Yield each row's first line number and cells; a final row that can't be split yields the number of lines after it.

    Nothing after a broken quote is read: part of a multi-line cell could pass as another subject's report.
    """
    csv.field_size_limit(_MAX_CELL_CHARACTERS)  # the default of 131,072 rejects long reports
    lines = text.rstrip("\n").split("\n")
    # strict: otherwise an unclosed quote silently swallows the rest of the file as one cell.
    reader = csv.reader((f"{line}\n" for line in lines), delimiter=delimiter, strict=True)
    at = 0
    try:
        for cells in reader:
            yield at + 1, cells
            at = reader.line_num
    except csv.Error:
        yield at + 1, len(lines) - at - 1


def _iter_json_rows(content: bytes) -> Iterator[tuple[int, Row | UnreadableError]]:
    require_text(content)
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if line.strip():
            yield number, _parse_json_row(line)


def _parse_json_row(line: bytes) -> Row | UnreadableError:
    try:
        row = load_json(decode_text(line), parse_finite)
    except UnreadableError as error:
        return error
    except (ValueError, RecursionError):
        return _record_error("The line is not valid JSON.")
    return row if isinstance(row, dict) else _record_error("The line is not a JSON object.")


def _parse_report(row: Row, columns: RecordColumns) -> ParsedReport:
    missing = [name for name in columns.required_columns if name not in row]
    if missing:
        raise UnreadableError(UnreadableReason.MISSING_COLUMN, _describe_missing(missing, columns, "line"))
    try:
        subject_id = read_id(row[columns.subject_id])
        own_id = "" if columns.report_id is None else validate_id(read_id(row[columns.report_id]))
        stated: list[tuple[str, Any]] = [
            (IdentifierKind.ID, row[columns.subject_id]),
            *((kind, row[c]) for c, kind in columns.identifiers.items()),
        ]
        written = () if columns.written_on is None else read_values(row[columns.written_on])
        stated += [(IdentifierKind.DATE, list(written))]
        identifiers = tuple(Identifier(kind, text) for kind, value in stated for text in read_values(value))
        sections = {heading: _read_section(row[column]) for column, heading in columns.sections.items()}
    except ValueError as error:
        raise _record_error(
            "A value is neither text nor a number, an id is not an integer, or a text is not valid Unicode."
        ) from error
    parts = [f"{heading}\n\n{body}" for heading, body in sections.items() if body]
    if not parts:
        raise UnreadableError(UnreadableReason.EMPTY, "All sections are empty.")
    metadata = ReportMetadata(
        subject_id=subject_id, report_id=own_id, identifiers=identifiers, written_on=read_first_day(written)
    )
    # A blank line follows each part.
    lines = accumulate((len(part.splitlines()) + 1 for part in parts[:-1]), initial=1)
    headings = tuple(MarkedLine(line=line, level=COLUMN_LEVEL) for line in lines)
    return ParsedReport("\n\n".join(parts), metadata, headings=headings)


def _read_section(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("not a scalar")
    text = str(value).replace("\r\n", "\n").replace("\r", "\n").strip()
    text.encode("utf-8")
    return text


def _record_error(detail: str) -> UnreadableError:
    return UnreadableError(UnreadableReason.BAD_RECORD, detail)

"""Reports that are a text file each, a row of a CSV file, or a line of a JSONL file.

A text file may begin with front matter, whose keys are those of facts.py. A row becomes a report by the columns that the batch
file names; a bad row never stops the others.
"""

import csv
from collections.abc import Iterator, Mapping
from typing import Any

from fine_tune_assets.core.strict_parsing import finite, load_json
from fine_tune_assets.quantities.metadata_dates import first_day
from fine_tune_assets.reports.batch_file import RecordColumns
from fine_tune_assets.reports.contents import check_is_text, decode
from fine_tune_assets.reports.facts import BadFactsError, Facts, Findings, Found, parse_facts
from fine_tune_assets.reports.identifiers import Identifier, Kind, checked_id, id_of, values_of
from fine_tune_assets.reports.unreadable_files import Reason, UnreadableError

_FENCE = "---"


def read_text_report(content: bytes) -> Found:
    """The report in a text file. Raises UnreadableError."""
    facts, text = split_front_matter(decode(content))
    if not text.strip():
        raise UnreadableError(Reason.EMPTY, "There is nothing below its front matter.")
    return Found(text, facts)


def split_front_matter(text: str) -> tuple[Facts, str]:
    """The facts in the front matter, none if there is none, and the rest. Raises UnreadableError."""
    first, _, rest = text.partition("\n")
    if first.rstrip() != _FENCE:
        return Facts(), text
    lines = rest.split("\n")
    end = next((number for number, line in enumerate(lines) if line.rstrip() == _FENCE), None)
    if end is None:
        raise _bad("Its front matter has no closing --- line.")
    try:
        return parse_facts("\n".join(lines[:end])), "\n".join(lines[end + 1 :])
    except BadFactsError as error:
        raise _bad(str(error)) from error


def _bad(detail: str) -> UnreadableError:
    return UnreadableError(Reason.BAD_FRONT_MATTER, f"The front matter can't be used. {detail}")


_LONGEST_CELL = 100_000_000
Row = Mapping[str, Any]


def read_records(content: bytes, suffix: str, columns: RecordColumns) -> Findings:
    """Each row with its number from 1: the report, or why it can't be read.

    Raises UnreadableError if nothing of the file can be read.
    """
    rows = _csv_rows(content, columns) if suffix == ".csv" else _json_rows(content)
    found = False
    for number, row in rows:
        found = True
        try:
            yield number, row if isinstance(row, UnreadableError) else _report(row, columns)
        except UnreadableError as error:
            yield number, error
    if not found:
        raise UnreadableError(Reason.EMPTY, "There is no row in it.")


def _csv_rows(content: bytes, columns: RecordColumns) -> Iterator[tuple[int, Row | UnreadableError]]:
    rows = _csv_cells(decode(content))
    _, header = next(rows)
    if isinstance(header, int):
        raise _bad_record("Its first line can't be split into cells. Check the quotes.")
    missing = [name for name in columns.needed if name not in header]
    if missing:
        raise UnreadableError(
            Reason.MISSING_COLUMN, f"{len(missing)} of the columns that batch.yaml names are not in its first line."
        )
    if any(header.count(name) > 1 for name in columns.needed):
        raise _bad_record("Two columns in its first line have the same name.")
    filled = ((line, cells) for line, cells in rows if cells != [])
    for number, (line, cells) in enumerate(filled, start=1):
        yield number, _csv_row(line, cells, header)


def _csv_row(line: int, cells: list[str] | int, header: list[str]) -> Row | UnreadableError:
    if isinstance(cells, int):
        return _bad_record(
            f"What begins in line {line} can't be split into cells: that line and the {cells} lines after it are not read. "
            "Repair its quotes."
        )
    if len(cells) != len(header):
        return _bad_record(f"What begins in line {line} has {len(cells)} cells instead of {len(header)}.")
    return dict(zip(header, cells, strict=True))


def _csv_cells(text: str) -> Iterator[tuple[int, list[str] | int]]:
    """The line in which each row begins, and its cells; of one that can't be split, last, the number of lines after it.

    Behind a broken quote nobody knows where a row begins: half of a cell of several lines could pass as another patient's
    report. So nothing behind it is read.
    """
    csv.field_size_limit(_LONGEST_CELL)  # the default of 131,072 refuses long reports
    lines = text.rstrip("\n").split("\n")
    # strict: else a quote that is never closed silently swallows the rest of the file as one cell.
    reader = csv.reader((f"{line}\n" for line in lines), strict=True)
    at = 0
    try:
        for cells in reader:
            yield at + 1, cells
            at = reader.line_num
    except csv.Error:
        yield at + 1, len(lines) - at - 1


def _json_rows(content: bytes) -> Iterator[tuple[int, Row | UnreadableError]]:
    check_is_text(content)
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if line.strip():
            yield number, _json_row(line)


def _json_row(line: bytes) -> Row | UnreadableError:
    try:
        row = load_json(decode(line), finite)
    except UnreadableError as error:
        return error
    except (ValueError, RecursionError):
        return _bad_record("It is not valid JSON.")
    return row if isinstance(row, dict) else _bad_record("It is not a JSON object.")


def _report(row: Row, columns: RecordColumns) -> Found:
    missing = [name for name in columns.needed if name not in row]
    if missing:
        raise UnreadableError(Reason.MISSING_COLUMN, f"It lacks {len(missing)} of the columns that batch.yaml names.")
    try:
        patient_id = id_of(row[columns.patient_id])
        own_id = "" if columns.report_id is None else checked_id(id_of(row[columns.report_id]))
        stated = [(Kind.ID, row[columns.patient_id]), *((kind, row[c]) for c, kind in columns.identifiers.items())]
        written = () if columns.written_on is None else values_of(row[columns.written_on])
        stated += [(Kind.DATE, list(written))]
        identifiers = tuple(Identifier(kind, text) for kind, value in stated for text in values_of(value))
        sections = {heading: _section(row[column]) for column, heading in columns.sections.items()}
    except ValueError as error:
        raise _bad_record(
            "A value in it is neither a text nor a number, an id is a fraction, or it is not valid Unicode."
        ) from error
    text = "\n\n".join(f"{heading}\n\n{body}" for heading, body in sections.items() if body)
    if not text:
        raise UnreadableError(Reason.EMPTY, "Each of its sections is empty.")
    facts = Facts(patient_id=patient_id, report_id=own_id, identifiers=identifiers, written_on=first_day(written))
    return Found(text, facts)


def _section(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("not a plain value")
    text = str(value).replace("\r\n", "\n").replace("\r", "\n").strip()
    text.encode("utf-8")
    return text


def _bad_record(detail: str) -> UnreadableError:
    return UnreadableError(Reason.BAD_RECORD, detail)

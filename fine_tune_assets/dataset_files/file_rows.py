"""Reads rows from files: JSON Lines, JSON arrays, CSV and TSV (also gzipped), Parquet and Arrow. The kind is found by content.

Reads row by row. A faulty row becomes a `Refusal` and the reading continues; a file that can't be split into rows raises
DatasetError. Arrow files are what `datasets.save_to_disk` writes; reading them with pyarrow needs no import of torch.
"""

import csv
import gzip
import io
import json
import re
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, Any

from fine_tune_assets.core.strict_parsing import load_json, parse_finite
from fine_tune_assets.dataset_files.dataset_rows import DatasetError, Refusal

FileRow = tuple[int, Any]
"""Number of the row, and its value or a Refusal."""
MAX_ROW_BYTES = 16 * 2**20
MAX_BATCH_BYTES = 2**30
_HEAD_BYTES = 64 * 2**10
_CHUNK_CHARACTERS = 2**20
_BATCH_ROWS = 256
_PARQUET_BUFFER_BYTES = 2**20
_PARQUET_FRAME_BYTES = 12
"""The mark at both ends and the length of the metadata."""
_GZIP = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_DELIMITERS = ",\t;"
_UNREADABLE = (OSError, EOFError, zlib.error)
_ESCAPED_BYTE = re.compile("[\udc80-\udcff]")
"""What `surrogateescape` makes of a byte that is not UTF-8."""


@dataclass(frozen=True)
class FileKind:
    name: str
    matches: Callable[[bytes], bool]
    """By the first bytes, after gzip."""
    read: Callable[[Path], Iterator[FileRow]]


def find_kind(path: Path) -> FileKind | None:
    """The kind of a file by its content; None if it is of no known kind or empty. Raises DatasetError."""
    try:
        with _open(path) as file:
            head = file.read(_HEAD_BYTES)
    except _UNREADABLE as error:
        raise DatasetError(f"{path.name} can't be read ({type(error).__name__}). Repair it or get it again.") from None
    if head.startswith(_UTF16):
        raise DatasetError(f"{path.name} is UTF-16. Save it as UTF-8.")
    return next((kind for kind in KINDS if head.strip() and kind.matches(head)), None)


def read_rows(path: Path, kind: FileKind) -> Iterator[FileRow]:
    """Every row of a file. Raises DatasetError if the file is damaged."""
    number = 0
    try:
        for number, value in kind.read(path):
            yield number, value
    except (*_UNREADABLE, _DamagedError) as error:
        reason = str(error) if isinstance(error, _DamagedError) else "the file is damaged or incomplete"
        raise DatasetError(
            f"{path.name}: {reason} after row {number}. Repair the file or get it again; nothing was imported."
        ) from None


class _DamagedError(Exception):
    """What is wrong with a file as a whole."""


@contextmanager
def _open(path: Path) -> Iterator[IO[bytes]]:
    """A file without gzip and byte order mark."""
    with path.open("rb") as raw:
        is_zipped = raw.read(2) == _GZIP
        raw.seek(0)
        with gzip.GzipFile(fileobj=raw) if is_zipped else raw as file:
            if file.peek(len(_BOM))[: len(_BOM)] == _BOM:
                file.read(len(_BOM))
            yield file  # type: ignore[misc]


def _json_lines(path: Path) -> Iterator[FileRow]:
    number = 0
    with _open(path) as file:
        while line := file.readline(MAX_ROW_BYTES):
            number += 1
            if len(line) == MAX_ROW_BYTES and not line.endswith(b"\n"):
                while line and not line.endswith(b"\n"):
                    line = file.readline(MAX_ROW_BYTES)
                yield number, Refusal.TOO_LARGE
            elif line.strip():
                yield number, _parse_json(line.decode("utf-8", "surrogateescape"))


def _parse_json(text: str) -> Any:
    if _ESCAPED_BYTE.search(text):
        return Refusal.NOT_UTF8
    try:
        return load_json(text, parse_finite)
    except json.JSONDecodeError:
        return Refusal.NOT_JSON
    except RecursionError:
        return Refusal.TOO_DEEP
    except ValueError:
        return Refusal.INVALID_VALUE


_TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?P<end>")?|[\[\]{},]', re.DOTALL)
"""A string, with the group `end` if it ends, a bracket or a comma."""


def _json_array(path: Path) -> Iterator[FileRow]:
    with _open(path) as file:
        text = io.TextIOWrapper(file, "utf-8", "surrogateescape", newline="")
        yield from ((number, _parse_json(part)) for number, part in enumerate(_split_array(text), start=1))


def _split_array(file: IO[str]) -> Iterator[str]:
    """The text of each element of the array. Raises _DamagedError."""
    buffer, position, depth = file.read(_CHUNK_CHARACTERS).lstrip().removeprefix("["), 0, 0
    while True:
        start = 0
        for match in _TOKEN.finditer(buffer, position):
            token = match[0]
            if token[0] == '"' and match["end"] is None:  # needs more text
                break
            position = match.end()
            if depth == 0 and token in ",]":
                element = buffer[start : match.start()]
                if token == "," or element.strip():
                    yield element
                if token == "]":
                    if buffer[position:].strip() or file.read(_CHUNK_CHARACTERS).strip():
                        raise _DamagedError("there is text behind the array")
                    return
                start = position
            elif token in "[{":
                depth += 1
            elif token in "]}":
                depth -= 1
                if depth < 0:
                    raise _DamagedError("the brackets do not match")
        more = file.read(_CHUNK_CHARACTERS)
        if not more:
            raise _DamagedError("the array does not end")
        if len(buffer) - start > MAX_ROW_BYTES:
            raise _DamagedError("an element does not end")
        buffer, position = buffer[start:] + more, position - start


def _delimited(path: Path) -> Iterator[FileRow]:
    with _open(path) as file:
        lines = _Lines(io.TextIOWrapper(file, "utf-8", "surrogateescape", newline=""))
        first = next(line for line in lines if line.strip())
        reader = csv.reader(lines, delimiter=_delimiter(first), strict=True)
        lines.put_back([first])
        try:
            header = next(reader)
        except csv.Error:
            raise _DamagedError("the header is not CSV") from None
        if len(set(header)) < len(header):
            raise _DamagedError("the header repeats a column")
        yield from enumerate(_records(reader, lines, header), start=1)


def _records(reader: Any, lines: "_Lines", header: list[str]) -> Iterator[Any]:
    while True:
        lines.taken.clear()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error:  # A quotation mark without its partner takes in many lines: only the first one is refused.
            lines.put_back(lines.taken[1:])
            yield Refusal.NOT_CSV
            continue
        if not cells:
            continue
        if any(map(_ESCAPED_BYTE.search, cells)):
            yield Refusal.NOT_UTF8
        elif len(cells) != len(header):
            yield Refusal.COLUMN_COUNT
        else:
            yield dict(zip(header, cells, strict=True))


class _Lines(Iterator[str]):
    """The lines of a file, which can be put back. Raises _DamagedError for one that does not end."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._returned: deque[str] = deque()
        self.taken: list[str] = []

    def __next__(self) -> str:
        line = self._returned.popleft() if self._returned else self._file.readline(MAX_ROW_BYTES)
        if not line:
            raise StopIteration
        if len(line) == MAX_ROW_BYTES and not line.endswith("\n"):
            raise _DamagedError("a line does not end")
        self.taken.append(line)
        return line

    def put_back(self, lines: list[str]) -> None:
        self._returned.extendleft(reversed(lines))


def _delimiter(header: str) -> str:
    return max(_DELIMITERS, key=header.count)


def _parquet(path: Path) -> Iterator[FileRow]:
    import pyarrow.parquet as pq

    # Without a buffer, Arrow allocates as much for a column as the file's end claims.
    with _arrow_errors(), pq.ParquetFile(path, buffer_size=_PARQUET_BUFFER_BYTES, pre_buffer=False) as file:
        _require_possible_sizes(file.metadata, path.stat().st_size)
        number = 0
        for number, row in _numbered(file.iter_batches(batch_size=_rows_per_batch(file.metadata))):
            yield number, row
        if number != file.metadata.num_rows:
            raise _DamagedError("it claims another number of rows")


def _require_possible_sizes(metadata: Any, file_bytes: int) -> None:
    """Raise _DamagedError if the file's end describes columns that the file can't contain."""
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    columns = [group.column(number) for group in groups for number in range(group.num_columns)]
    if any(not 0 <= column.total_compressed_size <= file_bytes - _PARQUET_FRAME_BYTES for column in columns):
        raise _DamagedError("a column is larger than the file")
    if sum(column.total_compressed_size for column in columns) > file_bytes:
        raise _DamagedError("its columns are larger than the file")
    if any(column.total_uncompressed_size < 0 or column.num_values < 0 for column in columns):
        raise _DamagedError("a column has a negative size")
    if metadata.num_rows != sum(group.num_rows for group in groups):
        raise _DamagedError("it claims another number of rows")


def _rows_per_batch(metadata: Any) -> int:
    """So few that a batch stays below MAX_BATCH_BYTES, although a dictionary stores a value once for all rows that have it."""
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    columns = [group.column(number) for group in groups for number in range(group.num_columns)]
    sizes = [column.total_uncompressed_size for column in columns if column.has_dictionary_page]
    return max(1, min(_BATCH_ROWS, MAX_BATCH_BYTES // max([1, *sizes])))


def _arrow_stream(path: Path) -> Iterator[FileRow]:
    import pyarrow as pa

    with _arrow_errors(), pa.OSFile(str(path)) as file, pa.ipc.open_stream(file) as reader:
        yield from _numbered(reader)


def _arrow_file(path: Path) -> Iterator[FileRow]:
    import pyarrow as pa

    with _arrow_errors(), pa.OSFile(str(path)) as file, pa.ipc.open_file(file) as reader:
        yield from _numbered(map(reader.get_batch, range(reader.num_record_batches)))


@contextmanager
def _arrow_errors() -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, ValueError):  # names in the schema may be damaged too; the message may quote a value
        raise _DamagedError("the file is damaged or incomplete") from None


def _numbered(batches: Iterator[Any]) -> Iterator[FileRow]:
    parts = (batch.slice(start, _BATCH_ROWS) for batch in batches for start in range(0, batch.num_rows, _BATCH_ROWS))
    return enumerate(chain.from_iterable(map(_batch_rows, parts)), start=1)


def _batch_rows(batch: Any) -> Iterator[Any]:
    """The rows of a record batch. If it is large, or one can't be converted, each is converted on its own."""
    import pyarrow as pa

    # Times are never needed, and some can't be converted.
    batch = batch.select([n for n, f in enumerate(batch.schema) if not pa.types.is_temporal(f.type)])
    is_single = batch.num_rows <= 1
    try:
        batch.validate(full=True)
        if is_single and _decoded_bytes(batch) > MAX_ROW_BYTES:
            yield Refusal.TOO_LARGE
            return
        if is_single or batch.nbytes <= MAX_ROW_BYTES:
            yield from batch.to_pylist()
            return
    except (ValueError, OverflowError, pa.ArrowException) as error:
        if is_single:
            yield Refusal.NOT_UTF8 if "UTF8" in str(error) else Refusal.INVALID_VALUE
            return
    yield from chain.from_iterable(_batch_rows(batch.slice(place, 1)) for place in range(batch.num_rows))


def _decoded_bytes(batch: Any) -> int:
    """Without the values of dictionaries that the rows do not name."""
    import pyarrow as pa

    columns = (c.dictionary_decode() if pa.types.is_dictionary(c.type) else c for c in batch.columns)
    return sum(int(column.nbytes) for column in columns)


def _is_json_lines(head: bytes) -> bool:
    """Whether most lines begin an object, or a complete array is followed by another line."""
    lines = [line for line in head.split(b"\n") if line.strip()]
    objects = sum(line.lstrip().startswith(b"{") for line in lines)
    if head.lstrip().startswith(b"["):
        is_complete = len(lines) > 1 and not isinstance(_parse_json(lines[0].decode("utf-8", "replace")), Refusal)
        return is_complete and objects > 0
    return 2 * objects > len(lines) - head.lstrip().startswith(b"{")


def _has_delimiter(head: bytes) -> bool:
    first = head.lstrip().split(b"\n", 1)[0]
    return any(delimiter.encode() in first for delimiter in _DELIMITERS)


CSV = "CSV"
JSON_LINES = FileKind("JSON Lines", _is_json_lines, _json_lines)
KINDS = (
    FileKind("Parquet", lambda head: head.startswith(b"PAR1"), _parquet),
    FileKind("Arrow", lambda head: head.startswith(b"ARROW1"), _arrow_file),
    FileKind("Arrow", lambda head: head.startswith(b"\xff\xff\xff\xff"), _arrow_stream),
    JSON_LINES,
    FileKind("JSON array", lambda head: head.lstrip().startswith(b"["), _json_array),
    FileKind(CSV, _has_delimiter, _delimited),
)

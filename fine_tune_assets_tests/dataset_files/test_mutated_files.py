"""Fuzzing: 10,000 mutated files. Each row is read, counted or refused; a file without clear rows is an error."""

import csv
import gzip
import io
import json
import random
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from fine_tune_assets.dataset_files.dataset_reader import open_dataset
from fine_tune_assets.dataset_files.dataset_rows import Conversation, DatasetError, DatasetRow, Refusal, Turn
from fine_tune_assets_tests.dataset_files.written_data import FILES, FORMATS

CASES = 10_000
MARKER = "Zyxomarkwort"
FORMAT_NAMES = sorted(set(FORMATS) - {"free"})
JUNK = [
    b"\x00", b"\xff\xfe", b'"', b'""', b"\\", b"{", b"}", b"[", b"]", b",", b"\n", b"\r", b"\t", b"NaN", b"1e999", b"\\ud800",
    b"\\u0000", b"[" * 3000, b"9" * 5000, b"null", b":", b"\xef\xbb\xbf", b"\x1f\x8b", b"PAR1",
]  # fmt: skip
VALUES: list[Any] = [
    None, "", " ", 7, 1e308, True, "\0", "x" * 2000, [], {}, [[]], [{}], [None], ["a", 1], {"role": "user"},
    [{"role": "tool", "content": "a"}], [{"role": "user", "content": [{"type": "image"}]}], [{"from": "human", "value": 7}],
]  # fmt: skip


def _conversation(number: int) -> Conversation:
    history = (Turn("user", f"{MARKER} ä"), Turn("assistant", "Hello.")) if number % 2 else ()
    return Conversation(f'{MARKER} "{number}"', f"a,\n{number}", "Yes; no.", history, system="Be brief.", kind="k")


def _change_values(rows: list[dict[str, Any]], rng: random.Random) -> list[dict[str, Any]]:
    for _ in range(rng.randint(1, 3)):
        row = rng.choice(rows)
        name = rng.choice(list(row))
        turns = [one for one in row[name] if isinstance(one, dict) and one] if isinstance(row[name], list) else []
        if turns and rng.random() < 0.7:
            turn = rng.choice(turns)
            turn[rng.choice(list(turn))] = deepcopy(rng.choice(VALUES))
        else:
            row[name] = deepcopy(rng.choice(VALUES))
    return rows


def _change_bytes(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        place, other = (rng.randrange(len(changed) + 1) for _ in range(2))
        match rng.randrange(5):
            case 0:
                changed[place:place] = rng.choice(JUNK)
            case 1:
                del changed[place : place + rng.randint(1, 12)]
            case 2:
                changed[place : place + 1] = bytes([rng.randrange(256)])
            case 3:
                changed[place:place] = changed[other : other + rng.randint(1, 200)]
            case _:
                del changed[place : None if rng.random() < 0.2 else place + 1]
    return bytes(changed)


def _count_lines(content: bytes) -> int:
    return sum(bool(line.strip()) for line in content.removeprefix(b"\xef\xbb\xbf").split(b"\n"))


def _count_elements(content: bytes) -> int | None:
    try:
        return len(json.loads(content))
    except (ValueError, TypeError, RecursionError):
        return None


def _count_records(content: bytes) -> int | None:
    text = content.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    delimiter = max(",\t;", key=next(line for line in io.StringIO(text, newline="") if line.strip()).count)
    try:
        return (
            sum(bool(cells) for cells in csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter))
            - 1
        )
    except csv.Error:
        return None


def _count_parquet(content: bytes) -> int:
    return int(pq.ParquetFile(io.BytesIO(content)).metadata.num_rows)


COUNTS: dict[str, Callable[[bytes], int | None]] = {
    "JSON Lines": _count_lines,
    "JSON array": _count_elements,
    "CSV": _count_records,
    "Parquet": _count_parquet,
    "Arrow": lambda _content: None,
}
"""Kind of file → how many rows it has, by another library; None if it can't count them."""


def _read(path: Path, row_format: str | None) -> tuple[str, list[DatasetRow]] | DatasetError:
    """The kind of the file and its rows."""
    try:
        dataset = open_dataset(path, row_format)
        return dataset.files[0].kind.name, list(dataset.rows())
    except DatasetError as error:
        return error


def _make_case(rng: random.Random, name: str, row_format: str) -> bytes:
    rows = [FORMATS[row_format](_conversation(number)) for number in range(rng.randint(1, 6))]
    is_typed = name.endswith((".parquet", ".arrow"))
    if not is_typed and rng.random() < 0.4:
        return FILES[name](_change_values(rows, rng))
    return _change_bytes(FILES[name](rows), rng)


def _check_case(rng: random.Random, folder: Path) -> str:
    name, row_format = rng.choice(list(FILES)), rng.choice(FORMAT_NAMES)
    content = _make_case(rng, name.removesuffix(".gz"), row_format)
    path = folder / name
    path.write_bytes(gzip.compress(content, 1) if name.endswith(".gz") else content)
    found = _read(path, row_format if rng.random() < 0.9 else None)
    path.unlink()  # some file systems sync a file that is overwritten
    if isinstance(found, DatasetError):
        assert MARKER not in str(found)
        return "error"
    kind, rows = found
    numbers = [row.number for row in rows]
    assert numbers == sorted(set(numbers)), "a row is lost or counted twice"
    assert MARKER not in "".join(row.content.value for row in rows if isinstance(row.content, Refusal))
    expected = COUNTS[kind](content)
    assert expected in (None, len(rows)), (name, row_format, content)
    return "refused" if any(isinstance(row.content, Refusal) for row in rows) else "read"


@pytest.mark.slow
def test_every_row_of_a_mutated_file_is_accounted_for(tmp_path: Path) -> None:
    """Whatever a file holds: no crash, no lost row, and no text in an error."""
    rng = random.Random(29)
    outcomes = [_check_case(rng, tmp_path) for _ in range(CASES)]
    shares = {name: outcomes.count(name) / CASES for name in ("read", "refused", "error")}
    assert min(shares.values()) > 0.05, shares

"""The confined side of confined_dataset.py: opens the data set, and sends its files and rows."""

from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from fine_tune_assets.core.processes.confined_worker import Channel
from fine_tune_assets.dataset_files.dataset_reader import open_dataset
from fine_tune_assets.dataset_files.dataset_rows import Conversation, DatasetRow, PreferencePair
from fine_tune_assets.dataset_files.file_rows import KINDS

_BATCH_ROWS, _BATCH_CHARACTERS = 500, 2_000_000


def send_dataset(channel: Channel, path: str, **options: Any) -> None:
    """Send the files and their formats, then all rows in batches."""
    dataset = open_dataset(Path(path), **options)
    files = [{"name": file.name, "kind": KINDS.index(file.kind), "format": file.format} for file in dataset.files]
    channel.send({"files": files, "ignored": list(dataset.ignored)})
    batch: list[DatasetRow] = []
    characters = 0
    for row in dataset.rows():
        batch.append(row)
        characters += _count_characters(row)
        if len(batch) >= _BATCH_ROWS or characters >= _BATCH_CHARACTERS:
            _send_batch(channel, batch)
            batch, characters = [], 0
    _send_batch(channel, batch)


def _send_batch(channel: Channel, batch: list[DatasetRow]) -> None:
    channel.send({"rows": row_adapter().dump_python(batch, mode="json")})
    channel.start_task()


def _count_characters(row: DatasetRow) -> int:
    match row.content:
        case Conversation() as found:
            return sum(map(len, (found.instruction, found.input, found.output, *(t.content for t in found.history))))
        case PreferencePair() as pair:
            texts = (pair.chosen, pair.rejected, pair.prompt or "")
            return sum(len(text) if isinstance(text, str) else sum(len(t.content) for t in text) for text in texts)
        case _:
            return 0


@cache
def row_adapter() -> TypeAdapter[list[DatasetRow]]:
    return TypeAdapter(list[DatasetRow])

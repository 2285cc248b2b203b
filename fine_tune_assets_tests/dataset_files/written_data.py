"""The bundled general data as conversations, written in every format and kind of file."""

import csv
import gzip
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.dataset_files.dataset_reader import open_dataset
from fine_tune_assets.dataset_files.dataset_rows import Conversation, Turn

GENERAL = PROJECT_DIR / "data" / "general"
Row = dict[str, Any]


@cache
def conversations(count: int = 60) -> tuple[Conversation, ...]:
    """Alternately with one and with three turns, with system prompt and kind."""
    found = [row.content for row in islice(open_dataset(GENERAL / "dolly_hhrlhf").rows(), count)]
    found += [row.content for row in islice(open_dataset(GENERAL / "self_instruct").rows(), count)]
    single = [one for one in found if isinstance(one, Conversation)]
    history = (Turn("user", "Hello,\n\nwho are you?"), Turn("assistant", "A model."))
    return tuple(
        replace(one, history=history if number % 2 else (), system="Be brief.", kind=f"kind {number % 3}")
        for number, one in enumerate(single)
    )


def as_alpaca(one: Conversation) -> Row:
    turns = [turn.content for turn in one.history]
    pairs = [list(pair) for pair in zip(turns[::2], turns[1::2], strict=True)]
    texts = {"instruction": one.instruction, "input": one.input, "output": one.output}
    return {**texts, "history": pairs, "system": one.system, "category": one.kind}


def _turns(one: Conversation, role: str, content: str, names: dict[str, str]) -> list[Row]:
    turns = [
        Turn("system", one.system or ""), *one.history, Turn("user", one.question), Turn("assistant", one.output),
    ]  # fmt: skip
    return [{role: names[turn.role], content: turn.content} for turn in turns]


_CHAT = {"system": "system", "user": "user", "assistant": "assistant"}


def as_messages(one: Conversation) -> Row:
    turns = _turns(one, "role", "content", _CHAT)
    return {"messages": turns, "instruction": one.instruction, "category": one.kind}


def as_sharegpt(one: Conversation) -> Row:
    names = {"system": "system", "user": "human", "assistant": "gpt"}
    return {"conversations": _turns(one, "from", "value", names), "instruction": one.instruction, "kind": one.kind}


def as_prompt_completion(one: Conversation) -> Row:
    *prompt, answer = _turns(one, "role", "content", _CHAT)
    return {"prompt": prompt, "completion": [answer], "instruction": one.instruction, "category": one.kind}


def as_preferences(one: Conversation) -> Row:
    return {"prompt": one.question, "chosen": one.output, "rejected": "No."}


def as_free_columns(one: Conversation) -> Row:
    row = as_alpaca(one)
    return {"Frage": row["instruction"], "Antwort": row["output"], **{n: row[n] for n in FREE_COLUMNS if n in row}}


FREE_COLUMNS = {
    "instruction": "Frage", "output": "Antwort",
    "input": "input", "system": "system", "history": "history", "category": "category",
}  # fmt: skip


FORMATS: dict[str, Callable[[Conversation], Row]] = {
    "alpaca": as_alpaca,
    "messages": as_messages,
    "sharegpt": as_sharegpt,
    "prompt_completion": as_prompt_completion,
    "preferences": as_preferences,
    "free": as_free_columns,
}


def json_lines(rows: Sequence[Row]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def json_array(rows: Sequence[Row]) -> bytes:
    return json.dumps(rows, ensure_ascii=False, indent=1).encode()


def delimited(rows: Sequence[Row], delimiter: str) -> bytes:
    import io

    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    for row in rows:
        writer.writerow({name: json.dumps(cell) if isinstance(cell, list) else cell for name, cell in row.items()})
    return text.getvalue().encode()


def parquet(rows: Sequence[Row]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(list(rows)), sink, row_group_size=50)
    return sink.getvalue().to_pybytes()


def arrow_file(rows: Sequence[Row]) -> bytes:
    table, sink = pa.Table.from_pylist(list(rows)), pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=50)
    return sink.getvalue().to_pybytes()


def arrow_stream(rows: Sequence[Row]) -> bytes:
    table, sink = pa.Table.from_pylist(list(rows)), pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=50)
    return sink.getvalue().to_pybytes()


def _zipped(content: Callable[[Sequence[Row]], bytes]) -> Callable[[Sequence[Row]], bytes]:
    return lambda rows: gzip.compress(content(rows))


FILES: dict[str, Callable[[Sequence[Row]], bytes]] = {
    "rows.jsonl": json_lines,
    "rows.json": json_array,
    "rows.csv": lambda rows: delimited(rows, ","),
    "rows.tsv": lambda rows: delimited(rows, "\t"),
    "rows.parquet": parquet,
    "rows.arrow": arrow_file,
    "stream.arrow": arrow_stream,
    "rows.jsonl.gz": _zipped(json_lines),
    "rows.json.gz": _zipped(json_array),
    "rows.csv.gz": _zipped(lambda rows: delimited(rows, ",")),
}


def write_rows(folder: Path, name: str, rows: Sequence[Row]) -> Path:
    path = folder / name
    path.write_bytes(FILES[name](rows))
    return path

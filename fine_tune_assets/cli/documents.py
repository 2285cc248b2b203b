"""Documents that a command is given: text files, or JSONL with `id` and `text` a line.

Owns how they come in, what is said about a line that is none, and the option that says where results go.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from fine_tune_assets.core.errors import FineTuneError

OUTPUT = click.option(
    "--output", "-o", type=click.File("w", encoding="utf-8"), default="-", help="A file; the terminal if left out."
)
_JSON_LINES = (".jsonl", ".ndjson")
Document = dict[str, Any]


class DocumentError(FineTuneError):
    """A file holds something that is no document."""


def read_documents(file: Path) -> Iterator[Document]:
    """{"id", "text"} of each document of a file. Raises DocumentError with the line that is wrong."""
    is_input = str(file) == "-"
    try:
        # Bytes: reading as text would change line ends, and so every offset after them.
        content = (sys.stdin.buffer.read() if is_input else file.read_bytes()).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DocumentError(
            f"{file} is not UTF-8 text. Save it as UTF-8 text, or put it into a batch folder and let the graph read it."
        ) from None
    if not is_json_lines(file):
        yield {"id": file.name, "text": content}
        return
    for number, line in enumerate(content.split("\n"), start=1):
        if line.strip():
            yield _document(line, file, number)


def _document(line: str, file: Path, number: int) -> Document:
    try:
        document = json.loads(line)
        text = document["text"]
    except (ValueError, KeyError, TypeError):
        raise DocumentError(f"Line {number} of {file} is not a JSON object with a `text`.") from None
    if not isinstance(text, str):
        raise DocumentError(f"The `text` in line {number} of {file} is not text.")
    if any("\ud800" <= c <= "\udfff" for c in text):
        raise DocumentError(f"The `text` in line {number} of {file} holds half a character (a lone surrogate).")
    return {**document, "id": document.get("id", f"{file.name}-{number}")}


def is_json_lines(file: Path) -> bool:
    return file.suffix.lower() in _JSON_LINES

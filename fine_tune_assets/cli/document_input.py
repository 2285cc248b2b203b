"""Input documents of commands (text files, or JSONL with `id` and `text`) and the option `--output`."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from fine_tune_assets.core.errors import FineTuneError

OUTPUT = click.option(
    "--output", "-o", type=click.File("w", encoding="utf-8"), default="-", help="Output file; default: standard output."
)
_JSON_LINES = (".jsonl", ".ndjson")
Document = dict[str, Any]


class DocumentError(FineTuneError):
    """A file contains an invalid document."""


def read_documents(file: Path) -> Iterator[Document]:
    """Each document of a file, with `id` and `text`. Raises DocumentError with the number of an invalid line."""
    is_input = str(file) == "-"
    try:
        # Bytes, because text mode would change line ends and with them all offsets.
        content = (sys.stdin.buffer.read() if is_input else file.read_bytes()).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DocumentError(
            f"{file} is not UTF-8 text. Save it as UTF-8, or put it into a batch folder: `fine-tune batch check`."
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
    document_id = document.get("id", f"{file.name}-{number}")
    for name, value in (("text", text), ("id", str(document_id))):
        if has_lone_surrogate(value):
            raise DocumentError(f"The `{name}` in line {number} of {file} contains a lone surrogate.")
    return {**document, "id": document_id}


def has_lone_surrogate(text: str) -> bool:
    """Whether the text cannot be written as UTF-8."""
    return any("\ud800" <= c <= "\udfff" for c in text)


def is_json_lines(file: Path) -> bool:
    return file.suffix.lower() in _JSON_LINES

"""Parses one document of the knowledge folder: metadata, text and blocks. Runs in a confined process.

It gets contents only: knowledge_reader.py finds the files, queries databases and reads PDF.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import yaml

from fine_tune_assets.core.processes.confined_worker import Channel
from fine_tune_assets.core.strict_parsing import load_texts
from fine_tune_assets.retrieval.block_parsers import parse_csv, parse_html, parse_markdown, parse_plain_text
from fine_tune_assets.retrieval.documents import (
    Block,
    DocumentFault,
    DocumentMetadata,
    UnreadableDocumentError,
    parse_metadata,
)

FOLDER_METADATA, METADATA_SUFFIX, QUERY_SUFFIX = "knowledge.yaml", ".meta.yaml", ".sql.yaml"
QUERY = "sql"
"""Kind of a query whose rows are a document."""
FAULT, DETAIL = "fault", "detail"
"""Keys of the message about an unreadable document."""
_QUERY_KEYS = ("query", "url_env", "url_file", "refresh_minutes")
_PARSERS: Mapping[str, Callable[[str], list[Block]]] = {
    "markdown": parse_markdown,
    "text": parse_plain_text,
    "html": parse_html,
    "csv": parse_csv,
    "pdf": parse_plain_text,
}
_FRONT_MATTER = re.compile(r"---[ \t]*\r?\n(.*?)(?:^|\n)---[ \t]*(?:\r?\n|$)", re.DOTALL)
_CHARSET = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?\s*([A-Za-z0-9_:-]{1,40})", re.IGNORECASE)


@dataclass(frozen=True)
class ParsedDocument:
    """A document, or a query that passed its checks."""

    metadata: DocumentMetadata
    blocks: tuple[Block, ...]
    """None of a query: its rows are not read yet."""
    query: Mapping[str, Any] = field(default_factory=dict)


def serve(channel: Channel) -> None:
    """Parse documents until the other side closes the channel."""
    while (request := channel.receive()) is not None:
        channel.start_task()
        task, content = request
        try:
            channel.send(asdict(parse_document(content=content, **task)))
        except UnreadableDocumentError as error:
            channel.send({FAULT: error.fault.value, DETAIL: error.detail})
        except MemoryError:
            raise
        # Any library error on a corrupt file. Its message may quote the document, so it is dropped.
        except Exception as error:  # noqa: BLE001
            detail = f"The content does not match the file extension ({type(error).__name__})."
            channel.send({FAULT: DocumentFault.READ_FAILED.value, DETAIL: detail})


def parse_document(
    stem: str, kind: str, version: str, metadata: Sequence[tuple[str, str]], content: bytes
) -> ParsedDocument:
    """`metadata`: name and text of each metadata file of the document, the nearest last; `version`: unless it states one.

    Raises UnreadableDocumentError.
    """
    stated = _merge_metadata(metadata)
    if kind == QUERY:
        return _parse_query(stem, content, stated)
    text = _decode(content, kind)
    if kind in ("markdown", "text"):
        front, text = _split_front_matter(text)
        stated |= front
    blocks = _PARSERS[kind](text)
    if not blocks:
        raise UnreadableDocumentError(DocumentFault.EMPTY, "The document contains no text.")
    title = next((block.headings[0] for block in blocks if block.headings), "") or _title_from_stem(stem)
    return ParsedDocument(parse_metadata(stated, title, version), tuple(blocks))


def _parse_query(stem: str, content: bytes, stated: dict[str, Any]) -> ParsedDocument:
    metadata = _parse_mapping(_decode(content, "text"), QUERY_SUFFIX)
    query = {name: metadata.pop(name) for name in _QUERY_KEYS if name in metadata}
    title = _title_from_stem(stem.removesuffix(QUERY_SUFFIX))
    return ParsedDocument(parse_metadata({**stated, **metadata}, title, ""), (), query)


def _merge_metadata(files: Sequence[tuple[str, str]]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for name, text in files:
        metadata = _parse_mapping(text, name)
        if name == FOLDER_METADATA and "title" in metadata:
            raise UnreadableDocumentError(
                DocumentFault.INVALID_METADATA, f"{FOLDER_METADATA} can't set one title for all documents."
            )
        merged |= metadata
    return merged


def _split_front_matter(text: str) -> tuple[dict[str, Any], str]:
    match = _FRONT_MATTER.match(text)
    if match is None:
        if re.match(r"---[ \t]*\r?\n[A-Za-z_]+:", text):
            raise UnreadableDocumentError(DocumentFault.INVALID_METADATA, "The front matter has no closing --- line.")
        return {}, text
    return _parse_mapping(match[1], "front matter"), text[match.end() :]


def _parse_mapping(text: str, where: str) -> dict[str, Any]:
    try:
        values = load_texts(text)
    except (ValueError, yaml.YAMLError):  # the error message quotes the text
        raise UnreadableDocumentError(DocumentFault.INVALID_METADATA, f"{where} is not valid YAML.") from None
    if values in (None, ""):
        return {}
    if not isinstance(values, dict):
        raise UnreadableDocumentError(DocumentFault.INVALID_METADATA, f"{where} must be a mapping.")
    return values


def _decode(content: bytes, kind: str) -> str:
    if b"\0" in content:
        raise UnreadableDocumentError(DocumentFault.NOT_TEXT, "The file contains a zero byte. Save it as UTF-8 text.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        pass
    declared = _CHARSET.search(content[:4096]) if kind == "html" else None
    try:
        if declared:
            return content.decode(declared[1].decode())
    except (UnicodeDecodeError, LookupError):
        pass
    raise UnreadableDocumentError(DocumentFault.NOT_TEXT, "The file is not UTF-8. Save it as UTF-8 text.")


def _title_from_stem(stem: str) -> str:
    return re.sub(r"[-_]+", " ", stem).strip().capitalize() or stem

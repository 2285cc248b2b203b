"""Reads the knowledge folder: every document, or the reason why it can't be read. A bad file does not affect the others.

Metadata comes from front matter, `NAME.meta.yaml` and the folders' `knowledge.yaml`. The PDF reader is passed in, because it
belongs to another stage package.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fine_tune_assets.core.fingerprints import fingerprint_bytes, short
from fine_tune_assets.core.strict_parsing import load_texts
from fine_tune_assets.retrieval.block_parsers import parse_csv, parse_html, parse_markdown, parse_plain_text
from fine_tune_assets.retrieval.documents import (
    Block,
    Document,
    DocumentFault,
    UnreadableDocumentError,
    parse_metadata,
)

ReadPdf = Callable[[bytes], str]
"""Raises UnreadableDocumentError."""
RunQuery = Callable[[Mapping[str, Any]], list[Block]]
"""Returns the rows of a `.sql.yaml` query. Raises UnreadableDocumentError."""
FOLDER_METADATA, METADATA_SUFFIX, QUERY_SUFFIX = "knowledge.yaml", ".meta.yaml", ".sql.yaml"
_MAX_BYTES = 20_000_000
_KINDS = {
    ".md": "markdown",
    ".markdown": "markdown",
    ".txt": "text",
    ".html": "html",
    ".htm": "html",
    ".csv": "csv",
    ".pdf": "pdf",
}
_FRONT_MATTER = re.compile(r"---[ \t]*\r?\n(.*?)(?:^|\n)---[ \t]*(?:\r?\n|$)", re.DOTALL)
_CHARSET = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?\s*([A-Za-z0-9_:-]{1,40})", re.IGNORECASE)
_PARTIAL_SUFFIXES = (".partial", ".tmp", "~")
_IGNORED_STEMS = frozenset({"readme", "license", "licence", "source"})
"""Files that describe the folder."""


@dataclass(frozen=True)
class UnreadableDocument:
    source: str
    fault: DocumentFault
    detail: str


@dataclass(frozen=True)
class KnowledgeDocuments:
    documents: tuple[Document, ...]
    unreadable: tuple[UnreadableDocument, ...]


def read_knowledge(folder: Path, read_pdf: ReadPdf, run_query: RunQuery) -> KnowledgeDocuments:
    """Read all documents below `folder`, sorted by path; none if the folder does not exist."""
    documents, unreadable = list[Document](), list[UnreadableDocument]()
    for path in list_document_files(folder):
        source = path.relative_to(folder).as_posix()
        try:
            documents.append(_read_document(folder, path, source, read_pdf, run_query))
        except UnreadableDocumentError as error:
            unreadable.append(UnreadableDocument(source, error.fault, error.detail))
        except OSError as error:
            unreadable.append(UnreadableDocument(source, DocumentFault.READ_FAILED, f"{type(error).__name__}."))
        # Any library error on a corrupt file. Its message may quote the document, so it is dropped.
        except Exception as error:  # noqa: BLE001
            detail = f"The content does not match the file extension ({type(error).__name__})."
            unreadable.append(UnreadableDocument(source, DocumentFault.READ_FAILED, detail))
    return KnowledgeDocuments(tuple(documents), tuple(unreadable))


def list_document_files(folder: Path) -> list[Path]:
    """List possible documents, without hidden and unfinished files, READMEs and metadata files."""
    return [
        path
        for path in sorted(folder.rglob("*"))
        if (path.is_symlink() or path.is_file()) and _is_document(folder, path)
    ]


def _is_document(folder: Path, path: Path) -> bool:
    parts, name = path.relative_to(folder).parts, path.name.lower()
    if any(part.startswith(".") for part in parts) or name.endswith(_PARTIAL_SUFFIXES):
        return False
    return not (path.stem.lower() in _IGNORED_STEMS or name == FOLDER_METADATA or name.endswith(METADATA_SUFFIX))


def _read_document(folder: Path, path: Path, source: str, read_pdf: ReadPdf, run_query: RunQuery) -> Document:
    if path.is_symlink() or not path.resolve().is_relative_to(folder.resolve()):
        raise UnreadableDocumentError(DocumentFault.NOT_A_FILE, "The file is a link. Copy the file itself here.")
    if path.stat().st_size > _MAX_BYTES:
        raise UnreadableDocumentError(DocumentFault.TOO_LARGE, f"The file is larger than {_MAX_BYTES} bytes. Split it.")
    content, stated = path.read_bytes(), {**_folder_metadata(folder, path.parent), **_sidecar_metadata(path)}
    if path.name.lower().endswith(QUERY_SUFFIX):
        return _read_query(source, content, stated, run_query)
    kind = _KINDS.get(path.suffix.lower())
    if kind is None:
        raise UnreadableDocumentError(
            DocumentFault.UNSUPPORTED_FORMAT, f"Unsupported format. Supported: {', '.join(_KINDS)} and *{QUERY_SUFFIX}."
        )
    text = read_pdf(content) if kind == "pdf" else _decode(content, kind)
    if kind in ("markdown", "text"):
        front, text = _split_front_matter(text)
        stated |= front
    blocks = _PARSERS[kind](text)
    if not blocks:
        raise UnreadableDocumentError(DocumentFault.EMPTY, "The document contains no text.")
    title = next((block.headings[0] for block in blocks if block.headings), "") or _title_from_stem(path.stem)
    return Document(source, kind, parse_metadata(stated, title, short(fingerprint_bytes(content))), tuple(blocks))


_PARSERS: dict[str, Callable[[str], list[Block]]] = {
    "markdown": parse_markdown,
    "text": parse_plain_text,
    "html": parse_html,
    "csv": parse_csv,
    "pdf": parse_plain_text,
}


def _read_query(source: str, content: bytes, stated: dict[str, Any], run_query: RunQuery) -> Document:
    metadata = _parse_mapping(_decode(content, "text"), source)
    request: dict[str, Any] = {
        name: metadata.pop(name) for name in ("query", "url_env", "url_file", "refresh_minutes") if name in metadata
    }
    title = _title_from_stem(source.rsplit("/", 1)[-1][: -len(QUERY_SUFFIX)])
    parse_metadata({**stated, **metadata}, title, "")  # check metadata before querying a database
    blocks = run_query(request)
    if not blocks:
        raise UnreadableDocumentError(DocumentFault.EMPTY, "The query returned no rows.")
    version = short(fingerprint_bytes("\n".join(block.text for block in blocks).encode()))
    return Document(source, "sql", parse_metadata({**stated, **metadata}, title, version), tuple(blocks))


def _folder_metadata(root: Path, folder: Path) -> dict[str, Any]:
    """Merge the metadata of all parent folders; the nearest takes precedence."""
    above = [
        root,
        *reversed([parent for parent in (folder, *folder.parents) if parent != root and parent.is_relative_to(root)]),
    ]
    merged: dict[str, Any] = {}
    for one in above:
        file = one / FOLDER_METADATA
        if file.is_file():
            metadata = _parse_mapping(file.read_text(encoding="utf-8"), FOLDER_METADATA)
            if {"title"} & set(metadata):
                raise UnreadableDocumentError(
                    DocumentFault.INVALID_METADATA, f"{FOLDER_METADATA} can't set one title for all documents."
                )
            merged |= metadata
    return merged


def _sidecar_metadata(path: Path) -> dict[str, Any]:
    file = path.with_name(path.name + METADATA_SUFFIX)
    return _parse_mapping(file.read_text(encoding="utf-8"), METADATA_SUFFIX) if file.is_file() else {}


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
        raise UnreadableDocumentError(
            DocumentFault.INVALID_METADATA, f"{_short_name(where)} is not valid YAML."
        ) from None
    if values in (None, ""):
        return {}
    if not isinstance(values, dict):
        raise UnreadableDocumentError(DocumentFault.INVALID_METADATA, f"{_short_name(where)} must be a mapping.")
    return values


def _short_name(where: str) -> str:
    return where.rsplit("/", 1)[-1].removeprefix(".")


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

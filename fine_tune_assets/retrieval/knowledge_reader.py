"""Reads the knowledge folder: every document, or why it can't be read. One bad file never costs the others.

Owns which files are taken, where a document's facts stand (front matter, `NAME.meta.yaml`, `knowledge.yaml` of a folder) and how
bytes become text. How a PDF is read comes from outside, since the reader is another stage's.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fine_tune_assets.core.fingerprints import fingerprint_bytes, short
from fine_tune_assets.core.strict_parsing import load_texts
from fine_tune_assets.retrieval.documents import (
    Block,
    Document,
    DocumentFault,
    UnreadableDocumentError,
    facts_of,
)
from fine_tune_assets.retrieval.outlines import blocks_of_csv, blocks_of_html, blocks_of_markdown, blocks_of_text

ReadPdf = Callable[[bytes], str]
"""Raises UnreadableDocumentError."""
RunQuery = Callable[[Mapping[str, Any]], list[Block]]
"""Rows of what a `.sql.yaml` file asks for. Raises UnreadableDocumentError."""
FOLDER_FACTS, META, QUERY = "knowledge.yaml", ".meta.yaml", ".sql.yaml"
_LARGEST_BYTES = 20_000_000
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
_UNFINISHED = (".partial", ".tmp", "~")
_ABOUT = frozenset({"readme", "license", "licence", "source"})
"""Files that tell of the folder."""


@dataclass(frozen=True)
class UnreadableDocument:
    source: str
    fault: DocumentFault
    detail: str


@dataclass(frozen=True)
class ReadKnowledge:
    documents: tuple[Document, ...]
    unreadable: tuple[UnreadableDocument, ...]


def read_knowledge(folder: Path, read_pdf: ReadPdf, run_query: RunQuery) -> ReadKnowledge:
    """Every document below `folder`, sorted by its path. A folder that is not there holds none."""
    documents, unreadable = list[Document](), list[UnreadableDocument]()
    for path in document_files(folder):
        source = path.relative_to(folder).as_posix()
        try:
            documents.append(_read(folder, path, source, read_pdf, run_query))
        except UnreadableDocumentError as error:
            unreadable.append(UnreadableDocument(source, error.fault, error.detail))
        except OSError as error:
            unreadable.append(UnreadableDocument(source, DocumentFault.NOT_READ, f"{type(error).__name__}."))
        # Whatever a library says over a broken file: its message may quote the document and is dropped.
        except Exception as error:  # noqa: BLE001
            detail = f"It can't be read as what its ending says ({type(error).__name__})."
            unreadable.append(UnreadableDocument(source, DocumentFault.NOT_READ, detail))
    return ReadKnowledge(tuple(documents), tuple(unreadable))


def document_files(folder: Path) -> list[Path]:
    """Whatever may be a document: all but hidden and unfinished files, READMEs, and files that only say something of others."""
    return [
        path
        for path in sorted(folder.rglob("*"))
        if (path.is_symlink() or path.is_file()) and _is_document(folder, path)
    ]


def _is_document(folder: Path, path: Path) -> bool:
    parts, name = path.relative_to(folder).parts, path.name.lower()
    if any(part.startswith(".") for part in parts) or name.endswith(_UNFINISHED):
        return False
    return not (path.stem.lower() in _ABOUT or name == FOLDER_FACTS or name.endswith(META))


def _read(folder: Path, path: Path, source: str, read_pdf: ReadPdf, run_query: RunQuery) -> Document:
    if path.is_symlink() or not path.resolve().is_relative_to(folder.resolve()):
        raise UnreadableDocumentError(DocumentFault.NOT_A_FILE, "It is a link. Put the file itself here.")
    if path.stat().st_size > _LARGEST_BYTES:
        raise UnreadableDocumentError(DocumentFault.TOO_LARGE, f"It is larger than {_LARGEST_BYTES} bytes. Split it.")
    content, stated = path.read_bytes(), {**_of_folders(folder, path.parent), **_beside(path)}
    if path.name.lower().endswith(QUERY):
        return _of_query(source, content, stated, run_query)
    kind = _KINDS.get(path.suffix.lower())
    if kind is None:
        raise UnreadableDocumentError(DocumentFault.UNSUPPORTED_FORMAT, f"Read are {', '.join(_KINDS)} and *{QUERY}.")
    text = read_pdf(content) if kind == "pdf" else _decoded(content, kind)
    if kind in ("markdown", "text"):
        front, text = _split_front_matter(text)
        stated |= front
    blocks = _BLOCKS[kind](text)
    if not blocks:
        raise UnreadableDocumentError(DocumentFault.EMPTY, "There is no text in it.")
    title = next((block.headings[0] for block in blocks if block.headings), "") or _title_of(path.stem)
    return Document(source, kind, facts_of(stated, title, short(fingerprint_bytes(content))), tuple(blocks))


_BLOCKS: dict[str, Callable[[str], list[Block]]] = {
    "markdown": blocks_of_markdown,
    "text": blocks_of_text,
    "html": blocks_of_html,
    "csv": blocks_of_csv,
    "pdf": blocks_of_text,
}


def _of_query(source: str, content: bytes, stated: dict[str, Any], run_query: RunQuery) -> Document:
    said = _mapping(_decoded(content, "text"), source)
    asked: dict[str, Any] = {
        name: said.pop(name) for name in ("query", "url_env", "url_file", "refresh_minutes") if name in said
    }
    title = _title_of(source.rsplit("/", 1)[-1][: -len(QUERY)])
    facts_of({**stated, **said}, title, "")  # before a database is asked
    blocks = run_query(asked)
    if not blocks:
        raise UnreadableDocumentError(DocumentFault.EMPTY, "The query gave no rows.")
    version = short(fingerprint_bytes("\n".join(block.text for block in blocks).encode()))
    return Document(source, "sql", facts_of({**stated, **said}, title, version), tuple(blocks))


def _of_folders(root: Path, folder: Path) -> dict[str, Any]:
    """What the folders above say, the nearest last."""
    above = [
        root,
        *reversed([parent for parent in (folder, *folder.parents) if parent != root and parent.is_relative_to(root)]),
    ]
    found: dict[str, Any] = {}
    for one in above:
        file = one / FOLDER_FACTS
        if file.is_file():
            said = _mapping(file.read_text(encoding="utf-8"), FOLDER_FACTS)
            if {"title"} & set(said):
                raise UnreadableDocumentError(
                    DocumentFault.BAD_FACTS, f"{FOLDER_FACTS} can't name a title for all documents."
                )
            found |= said
    return found


def _beside(path: Path) -> dict[str, Any]:
    file = path.with_name(path.name + META)
    return _mapping(file.read_text(encoding="utf-8"), META) if file.is_file() else {}


def _split_front_matter(text: str) -> tuple[dict[str, Any], str]:
    found = _FRONT_MATTER.match(text)
    if found is None:
        if re.match(r"---[ \t]*\r?\n[A-Za-z_]+:", text):
            raise UnreadableDocumentError(DocumentFault.BAD_FACTS, "Its front matter is not closed by a line ---.")
        return {}, text
    return _mapping(found[1], "the front matter"), text[found.end() :]


def _mapping(text: str, where: str) -> dict[str, Any]:
    try:
        said = load_texts(text)
    except (ValueError, yaml.YAMLError):  # its message quotes the text
        raise UnreadableDocumentError(DocumentFault.BAD_FACTS, f"{_short_name(where)} is no valid YAML.") from None
    if said in (None, ""):
        return {}
    if not isinstance(said, dict):
        raise UnreadableDocumentError(DocumentFault.BAD_FACTS, f"{_short_name(where)} must hold names and values.")
    return said


def _short_name(where: str) -> str:
    return where.rsplit("/", 1)[-1].removeprefix(".")


def _decoded(content: bytes, kind: str) -> str:
    if b"\0" in content:
        raise UnreadableDocumentError(DocumentFault.NOT_TEXT, "There is a zero byte in it. Save it as UTF-8 text.")
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
    raise UnreadableDocumentError(DocumentFault.NOT_TEXT, "It is not UTF-8. Save it as UTF-8 text.")


def _title_of(stem: str) -> str:
    return re.sub(r"[-_]+", " ", stem).strip().capitalize() or stem

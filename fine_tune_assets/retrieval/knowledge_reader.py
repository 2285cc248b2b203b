"""Reads the knowledge folder: every document, or the reason why it can't be read. A bad file does not affect the others.

Metadata comes from front matter, `NAME.meta.yaml` and the folders' `knowledge.yaml`. A confined process parses all of it
(document_parser.py). The PDF reader is passed in, because it belongs to another stage package.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

from pydantic import TypeAdapter, ValidationError

from fine_tune_assets.core.fingerprints import fingerprint_bytes, short
from fine_tune_assets.core.processes.confined_process import ConfinedProcess, ConfinedProcessError, ProcessLimits
from fine_tune_assets.retrieval.document_parser import (
    DETAIL,
    FAULT,
    FOLDER_METADATA,
    METADATA_SUFFIX,
    QUERY,
    QUERY_SUFFIX,
    ParsedDocument,
    serve,
)
from fine_tune_assets.retrieval.documents import Block, Document, DocumentFault, UnreadableDocumentError

ReadPdf = Callable[[bytes], str]
"""Raises UnreadableDocumentError."""
RunQuery = Callable[[Mapping[str, Any]], list[Block]]
"""Returns the rows of a `.sql.yaml` query. Raises UnreadableDocumentError."""
PARSER_LIMITS = ProcessLimits(seconds=120, cpu_seconds=60, memory_bytes=2_000_000_000, output_bytes=200_000_000)
"""For one document."""
_MAX_BYTES = 20_000_000
_MAX_METADATA_BYTES = 100_000
_KINDS = {
    ".md": "markdown",
    ".markdown": "markdown",
    ".txt": "text",
    ".html": "html",
    ".htm": "html",
    ".csv": "csv",
    ".pdf": "pdf",
}
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


def read_knowledge(
    folder: Path, read_pdf: ReadPdf, run_query: RunQuery, limits: ProcessLimits = PARSER_LIMITS
) -> KnowledgeDocuments:
    """Read all documents below `folder`, sorted by path; none if the folder does not exist."""
    documents, unreadable = list[Document](), list[UnreadableDocument]()
    with _ConfinedParser(limits) as parser:
        for path in list_document_files(folder):
            source = path.relative_to(folder).as_posix()
            try:
                documents.append(_read_document(folder, path, parser, read_pdf, run_query))
            except UnreadableDocumentError as error:
                unreadable.append(UnreadableDocument(source, error.fault, error.detail))
            except (OSError, UnicodeDecodeError) as error:  # the message of the latter quotes the file
                unreadable.append(UnreadableDocument(source, DocumentFault.READ_FAILED, f"{type(error).__name__}."))
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


def _read_document(
    folder: Path, path: Path, parser: "_ConfinedParser", read_pdf: ReadPdf, run_query: RunQuery
) -> Document:
    if path.is_symlink() or not path.resolve().is_relative_to(folder.resolve()):
        raise UnreadableDocumentError(DocumentFault.NOT_A_FILE, "The file is a link. Copy the file itself here.")
    if path.stat().st_size > _MAX_BYTES:
        raise UnreadableDocumentError(DocumentFault.TOO_LARGE, f"The file is larger than {_MAX_BYTES} bytes. Split it.")
    is_query = path.name.lower().endswith(QUERY_SUFFIX)
    kind = QUERY if is_query else _KINDS.get(path.suffix.lower())
    if kind is None:
        raise UnreadableDocumentError(
            DocumentFault.UNSUPPORTED_FORMAT, f"Unsupported format. Supported: {', '.join(_KINDS)} and *{QUERY_SUFFIX}."
        )
    metadata, content = _read_metadata(folder, path), path.read_bytes()
    version = short(fingerprint_bytes(content))
    if kind == "pdf":
        content = read_pdf(content).encode(errors="replace")
    stem = path.name[: -len(QUERY_SUFFIX)] if is_query else path.stem
    parsed = parser.parse({"stem": stem, "kind": kind, "version": version, "metadata": metadata}, content)
    if is_query:
        parsed = _read_rows(parsed, run_query)
    return Document(path.relative_to(folder).as_posix(), kind, parsed.metadata, parsed.blocks)


def _read_rows(parsed: ParsedDocument, run_query: RunQuery) -> ParsedDocument:
    """The version of a query without one depends on its rows."""
    blocks = run_query(parsed.query)
    if not blocks:
        raise UnreadableDocumentError(DocumentFault.EMPTY, "The query returned no rows.")
    version = parsed.metadata.version or short(fingerprint_bytes("\n".join(block.text for block in blocks).encode()))
    return replace(parsed, metadata=replace(parsed.metadata, version=version), blocks=tuple(blocks))


def _read_metadata(folder: Path, path: Path) -> list[tuple[str, str]]:
    """Name and text of the metadata files of all parent folders, then of the document's own. The nearest takes precedence."""
    parents = [parent for parent in path.parents if parent == folder or parent.is_relative_to(folder)]
    files = [(FOLDER_METADATA, parent / FOLDER_METADATA) for parent in reversed(parents)]
    files.append((METADATA_SUFFIX.removeprefix("."), path.with_name(path.name + METADATA_SUFFIX)))
    return [(name, _read_metadata_file(file)) for name, file in files if file.is_file()]


def _read_metadata_file(path: Path) -> str:
    """A part of it could lack the labels that restrict a document, so an oversized file is refused and not cut."""
    if path.stat().st_size > _MAX_METADATA_BYTES:
        detail = f"{path.name} is larger than {_MAX_METADATA_BYTES} bytes."
        raise UnreadableDocumentError(DocumentFault.INVALID_METADATA, detail)
    return path.read_text(encoding="utf-8")


class _ConfinedParser:
    """Starts its process with the first document, and again after one that ended it."""

    def __init__(self, limits: ProcessLimits) -> None:
        self._limits = limits
        self._process: ConfinedProcess | None = None

    def __enter__(self) -> "_ConfinedParser":
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        self._stop()

    def parse(self, task: Mapping[str, Any], content: bytes) -> ParsedDocument:
        """Raises UnreadableDocumentError, also if the document ends the process."""
        if self._process is None:
            self._process = ConfinedProcess(serve, {}, self._limits)
        try:
            self._process.extend_deadline()
            self._process.send(dict(task), content)
            return _decode_answer(self._process.receive())
        except ConfinedProcessError as error:
            self._stop()
            detail = f"Reading it {error.failure.value}. Split the document, or export it again."
            raise UnreadableDocumentError(DocumentFault.READ_FAILED, detail) from error

    def _stop(self) -> None:
        if self._process is not None:
            process, self._process = self._process, None
            process.stop()


def _decode_answer(answer: dict[str, Any]) -> ParsedDocument:
    """A process that was taken over can only send data of these types. Raises UnreadableDocumentError."""
    try:
        if FAULT in answer:
            raise UnreadableDocumentError(DocumentFault(answer[FAULT]), str(answer[DETAIL]))
        return _answer_adapter().validate_python(answer)
    except (ValidationError, ValueError, KeyError):
        raise UnreadableDocumentError(DocumentFault.READ_FAILED, "The reader sent damaged data.") from None


@cache
def _answer_adapter() -> TypeAdapter[ParsedDocument]:
    return TypeAdapter(ParsedDocument)

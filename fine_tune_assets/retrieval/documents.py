"""Documents of the knowledge base: their metadata, its validation, and the errors of unreadable documents.

Denies by default: a document without labels, or not declared free of subject data, is rejected.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any

from fine_tune_assets.core.access_labels import is_label
from fine_tune_assets.core.prompts.retrieval_contract import EVERYONE

METADATA_KEYS = ("title", "version", "valid_from", "valid_to", "labels", "subject_free")
_MAX_LENGTH = 300


class DocumentFault(StrEnum):
    EMPTY = "empty"
    TOO_LARGE = "too_large"
    UNSUPPORTED_FORMAT = "unsupported_format"
    NOT_A_FILE = "not_a_file"
    NOT_TEXT = "not_text"
    INVALID_METADATA = "invalid_metadata"
    NO_LABELS = "no_labels"
    NOT_DECLARED = "not_declared"
    INVALID_TABLE = "invalid_table"
    INVALID_QUERY = "invalid_query"
    NO_DATABASE = "no_database"
    READ_FAILED = "read_failed"


class UnreadableDocumentError(Exception):
    """A document can't be read. Becomes a row of `unreadable_documents`; the rest continue. The detail contains no text."""

    def __init__(self, fault: DocumentFault, detail: str) -> None:
        super().__init__(fault.value)
        self.fault, self.detail = fault, detail


@dataclass(frozen=True)
class DocumentMetadata:
    title: str
    version: str
    labels: tuple[str, ...]
    valid_from: str | None
    """First day of validity, as `2026-01-31`; None if unlimited."""
    valid_to: str | None
    """Last day of validity; None if unlimited."""


@dataclass(frozen=True)
class Block:
    """A unit of a document that stays together: a paragraph or a table row."""

    text: str
    headings: tuple[str, ...] = ()
    header: str = ""
    """A row's table header, which is repeated in every chunk."""


@dataclass(frozen=True)
class Document:
    source: str
    """Path relative to the knowledge folder."""
    kind: str
    metadata: DocumentMetadata
    blocks: tuple[Block, ...]


_MAX_NAMED_KEYS = 10
"""Unknown keys that a reason names."""


def parse_metadata(stated: Mapping[str, Any], title: str, version: str) -> DocumentMetadata:
    """Validate metadata, with defaults for title and version. Raises UnreadableDocumentError that lists the problems."""
    unknown = [key for key in stated if key not in METADATA_KEYS]
    problems = [f"unknown key {_describe_key(key)}" for key in unknown[:_MAX_NAMED_KEYS]]
    if len(unknown) > _MAX_NAMED_KEYS:
        problems.append(f"{len(unknown) - _MAX_NAMED_KEYS:,} other unknown keys")
    labels = _parse_labels(stated.get("labels"), problems)
    days = {name: _parse_day(name, stated.get(name), problems) for name in ("valid_from", "valid_to")}
    texts = {name: _parse_text(name, stated.get(name), problems) for name in ("title", "version")}
    if days["valid_from"] and days["valid_to"] and days["valid_from"] > days["valid_to"]:
        problems.append("valid_to is before valid_from")
    if problems:
        raise UnreadableDocumentError(
            DocumentFault.INVALID_METADATA, f"{'; '.join(problems)}. Known keys: {', '.join(METADATA_KEYS)}."
        )
    if str(stated.get("subject_free", "")).lower() != "true":
        raise UnreadableDocumentError(
            DocumentFault.NOT_DECLARED,
            "Set `subject_free: true` if the document contains no subject data; otherwise remove it.",
        )
    if not labels:
        raise UnreadableDocumentError(
            DocumentFault.NO_LABELS, f"Set who may see it: `labels: [{EVERYONE}]`, or labels of API keys."
        )
    return DocumentMetadata(
        texts["title"] or title, texts["version"] or version, labels, days["valid_from"], days["valid_to"]
    )


def _parse_labels(value: Any, problems: list[str]) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(one, str) and is_label(one) for one in value):
        problems.append("labels must be a list of names of lower-case letters, digits, - and _")
        return ()
    return tuple(sorted(set(value)))


def _parse_day(name: str, value: Any, problems: list[str]) -> str | None:
    if value in (None, ""):
        return None
    try:
        return date.fromisoformat(value).isoformat()
    except (TypeError, ValueError):
        problems.append(f"{name} must be a date such as 2026-01-31")
        return None


def _parse_text(name: str, value: Any, problems: list[str]) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > _MAX_LENGTH:
        problems.append(f"{name} must be text of at most {_MAX_LENGTH} characters")
        return ""
    return " ".join(value.split())


def _describe_key(key: Any) -> str:
    """Quote a mistyped key only if it is a plain word."""
    return key if isinstance(key, str) and re.fullmatch(r"\w{1,40}", key) else "that is not a plain word"

"""What a document of the knowledge base is, what may be said about it, and why one can't be read.

Owns the facts (title, version, days on which it is valid, who may see it) and how they are checked. Default deny: a document
that names no label, or is not declared to be free of patients, is not taken. Knows no format.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any

from fine_tune_assets.core.access_labels import is_label
from fine_tune_assets.core.prompts.retrieval_contract import EVERYONE

FACTS = ("title", "version", "valid_from", "valid_to", "labels", "patient_free")
_LONGEST = 300


class DocumentFault(StrEnum):
    EMPTY = "empty"
    TOO_LARGE = "too_large"
    UNSUPPORTED_FORMAT = "unsupported_format"
    NOT_A_FILE = "not_a_file"
    NOT_TEXT = "not_text"
    BAD_FACTS = "bad_facts"
    NO_LABELS = "no_labels"
    NOT_DECLARED = "not_declared"
    BAD_TABLE = "bad_table"
    BAD_QUERY = "bad_query"
    NO_DATABASE = "no_database"
    NOT_READ = "not_read"


class UnreadableDocumentError(Exception):
    """One document can't be read. Becomes a row of `unreadable_documents`; the others go on. The detail holds no text of it."""

    def __init__(self, fault: DocumentFault, detail: str) -> None:
        super().__init__(fault.value)
        self.fault, self.detail = fault, detail


@dataclass(frozen=True)
class Facts:
    title: str
    version: str
    labels: tuple[str, ...]
    valid_from: str | None
    """First day on which it holds, as `2026-01-31`; None: it always did."""
    valid_to: str | None
    """Last day; None: it has none."""


@dataclass(frozen=True)
class Block:
    """A piece of a document that belongs together: a paragraph, or a row of a table."""

    text: str
    headings: tuple[str, ...] = ()
    header: str = ""
    """Of a row: the table's header, which goes with it wherever it is cut."""


@dataclass(frozen=True)
class Document:
    source: str
    """Path below the knowledge folder."""
    kind: str
    facts: Facts
    blocks: tuple[Block, ...]


def facts_of(stated: Mapping[str, Any], title: str, version: str) -> Facts:
    """Check what is stated, where title and version have a default. Raises UnreadableDocumentError with every fault."""
    faults = [f"unknown key {_named(key)}" for key in stated if key not in FACTS]
    labels = _labels(stated.get("labels"), faults)
    days = {name: _day(name, stated.get(name), faults) for name in ("valid_from", "valid_to")}
    texts = {name: _text(name, stated.get(name), faults) for name in ("title", "version")}
    if days["valid_from"] and days["valid_to"] and days["valid_from"] > days["valid_to"]:
        faults.append("valid_to is before valid_from")
    if faults:
        raise UnreadableDocumentError(DocumentFault.BAD_FACTS, f"{'; '.join(faults)}. Known: {', '.join(FACTS)}.")
    if str(stated.get("patient_free", "")).lower() != "true":
        raise UnreadableDocumentError(
            DocumentFault.NOT_DECLARED, "Say `patient_free: true` if nobody's health is told in it; else keep it out."
        )
    if not labels:
        raise UnreadableDocumentError(
            DocumentFault.NO_LABELS, f"Say who may see it: `labels: [{EVERYONE}]`, or labels that keys hold."
        )
    return Facts(texts["title"] or title, texts["version"] or version, labels, days["valid_from"], days["valid_to"])


def _labels(value: Any, faults: list[str]) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(one, str) and is_label(one) for one in value):
        faults.append("labels must be a list of words in small letters, digits, - and _")
        return ()
    return tuple(sorted(set(value)))


def _day(name: str, value: Any, faults: list[str]) -> str | None:
    if value in (None, ""):
        return None
    try:
        return date.fromisoformat(value).isoformat()
    except (TypeError, ValueError):
        faults.append(f"{name} must be a day such as 2026-01-31")
        return None


def _text(name: str, value: Any, faults: list[str]) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > _LONGEST:
        faults.append(f"{name} must be a text of at most {_LONGEST} characters")
        return ""
    return " ".join(value.split())


def _named(key: Any) -> str:
    """A key that people mistyped; what is no word is not repeated."""
    return key if isinstance(key, str) and re.fullmatch(r"\w{1,40}", key) else "that is no word"

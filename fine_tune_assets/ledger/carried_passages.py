"""The passages that a corrected answer was given from, as they lie in the ledger: which they are plain, what they say encrypted.

Owns that form, both ways. Does not know how a correction is kept.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fine_tune_assets.core.retrieval_contract import AnsweredFrom, carried_passages

PLAIN = ("passage_id", "source", "version", "labels")
TEXTS = ("title", "headings", "text")


@dataclass(frozen=True)
class CarriedDocument:
    """Which passage it was, without what it says."""

    passage_id: str
    source: str | None
    """None, as the version, where it was gone from every index before the correction came."""
    version: str | None


def columns_of(answered: AnsweredFrom, encrypt: Callable[[str], bytes]) -> dict[str, Any]:
    """Column → value."""
    gone: list[dict[str, Any]] = [{"passage_id": one} for one in answered.passage_ids]
    plain = [{name: getattr(one, name) for name in PLAIN} for one in answered.passages]
    texts = [{name: getattr(one, name) for name in TEXTS} for one in answered.passages]
    return {
        "knowledge_index": answered.knowledge_index,
        "passages": json.dumps(plain or gone, ensure_ascii=False),
        "passage_texts": encrypt(json.dumps(texts, ensure_ascii=False)) if texts else None,
    }


def answered_from(row: Mapping[Any, Any], decrypt: Callable[[bytes], str]) -> AnsweredFrom | None:
    """Raises what `decrypt` raises."""
    if row["passages"] is None:
        return None
    plain = json.loads(row["passages"])
    texts = [] if row["passage_texts"] is None else json.loads(decrypt(row["passage_texts"]))
    passages = carried_passages(one | said for one, said in zip(plain, texts, strict=True)) if texts else ()
    return AnsweredFrom(row["knowledge_index"], tuple(one["passage_id"] for one in plain), passages)


def documents_of(passages: str | None) -> tuple[CarriedDocument, ...]:
    """Of the column `passages`; needs no key."""
    plain = json.loads(passages or "[]")
    return tuple(CarriedDocument(one["passage_id"], one.get("source"), one.get("version")) for one in plain)

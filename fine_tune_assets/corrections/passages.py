"""Corrections of answers that were given from documents: which may teach, and what they are without their passages.

Owns the rule on access labels. Does not know how an example is written.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from fine_tune_assets.core.retrieval_contract import EVERYONE, are_for_everyone


def passages_gone(corrections: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """Ids of those whose passages were in no index any more when they came."""
    return frozenset(str(row["correction_id"]) for row in corrections if row["passages"] == [])


def closed_sources(chunks: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """Documents of KNOWLEDGE_CHUNKS that not everyone may see now."""
    return frozenset(str(row["source"]) for row in chunks if EVERYONE not in row["labels"])


def not_for_everyone(corrections: Iterable[Mapping[str, Any]], closed: Collection[str]) -> frozenset[str]:
    """Ids of those that rest on a passage which not everyone might see when they came, or whose document is in `closed` now."""
    return frozenset(str(row["correction_id"]) for row in corrections if _is_closed(row["passages"] or (), closed))


def _is_closed(passages: Collection[Mapping[str, Any]], closed: Collection[str]) -> bool:
    return not are_for_everyone(passages) or any(row["source"] in closed for row in passages)

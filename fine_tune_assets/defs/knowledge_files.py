"""The knowledge folder as a source: when its content is another one.

Belongs here: its version. A database that a query asks tells nobody of a change: its rows are read again when they are as old as
the query's file lets them be.
"""

from datetime import UTC, datetime
from pathlib import Path

import yaml

from fine_tune_assets.core.fingerprints import combine, fingerprint_file, fingerprint_folder
from fine_tune_assets.core.strict_yaml import load_texts
from fine_tune_assets.defs.resources import Installation
from fine_tune_assets.retrieval.documents import UnreadableDocumentError
from fine_tune_assets.retrieval.measuring import OWN_QUESTIONS
from fine_tune_assets.retrieval.queries import refresh_minutes
from fine_tune_assets.retrieval.reading import QUERY


def knowledge_version(installation: Installation, now: datetime | None = None) -> str:
    """Of names and contents, and of the time slot of each query. Raises OSError."""
    folder = installation.layout.knowledge
    if not folder.is_dir():
        return "none"
    at = now or datetime.now(UTC)
    slots = [_slot(path, at) for path in sorted(folder.rglob(f"*{QUERY}"))]
    return combine([fingerprint_folder(folder), *slots])


def labelled_questions_version(installation: Installation) -> str:
    folder = installation.layout.evaluation
    own = folder / "retrieval" / OWN_QUESTIONS
    return combine(
        [fingerprint_file(folder / "abilities" / "pubmed_qa.jsonl"), fingerprint_file(own) if own.is_file() else "none"]
    )


def _slot(path: Path, at: datetime) -> str:
    try:
        said = load_texts(path.read_text(encoding="utf-8"))
        return str(int(at.timestamp() // (60 * refresh_minutes(said if isinstance(said, dict) else {}))))
    # Whatever is wrong with it becomes a row of unreadable_documents.
    except (ValueError, yaml.YAMLError, UnreadableDocumentError):
        return "unreadable"

"""Stage 7: the installation's own experts' ratings, as the judge's agreement is measured on them.

Belongs here: bringing together what experts rated (ledger), what was answered (judge_scores) and what was asked (the stored set).
Must stay out: measuring (see `judging/agreement.py`).
"""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.fingerprints import fingerprint_text
from fine_tune_assets.defs.resources import Installation
from fine_tune_assets.defs.s06_adapters import set_learned_from
from fine_tune_assets.instructions.storing import InstructionSetError
from fine_tune_assets.judging.grades import Answered, as_asked
from fine_tune_assets.ledger.spot_checks import SpotCheck, list_spot_checks

LOGGER = logging.getLogger(__name__)
Rating = tuple[str, float, Answered]
"""Task, the expert's score from 1 to 10, and the answer."""


def own_ratings(installation: Installation) -> list[Rating]:
    """Ratings of answers that are still there. Those of an earlier candidate are in the ledger, and their texts nowhere."""
    with installation.ledger() as ledger:
        checks = list_spot_checks(ledger)
    if not checks:
        return []
    answers, examples = _answers(installation.layout.table("judge_scores")), _examples(installation)
    found = [rating for check in checks for rating in _rating(check, answers, examples)]
    LOGGER.info("%d of %d ratings by experts are of answers that are still there.", len(found), len(checks))
    return found


def _answers(path: Path) -> dict[tuple[str, str], str]:
    """(example, fingerprint of the answer) → its text."""
    if not path.is_file():
        return {}
    columns = pq.read_table(path, columns=["example_id", "answer"], partitioning=None).to_pylist()
    return {(row["example_id"], fingerprint_text(row["answer"])): row["answer"] for row in columns}


def _examples(installation: Installation) -> dict[str, Mapping[str, Any]]:
    """Of the set that the newest adapter was trained on; none if nothing of it may be judged any more."""
    path = installation.layout.table("adapters")
    if not path.is_file():
        return {}
    (adapter,) = pq.read_table(path, columns=["instruction_set_fingerprint"], partitioning=None).to_pylist()
    try:
        stored = set_learned_from(installation, adapter)
    except (GateClosedError, InstructionSetError):
        return {}
    return {row["example_id"]: row for row in stored.table.to_pylist() if row["split"] == "test"}


def _rating(
    check: SpotCheck, answers: Mapping[tuple[str, str], str], examples: Mapping[str, Mapping[str, Any]]
) -> Iterator[Rating]:
    text = answers.get((check.example_id, check.answer_fingerprint))
    example = examples.get(check.example_id)
    if text is not None and example is not None:
        yield check.task, float(check.score), as_asked(example, check.answer_id, text)

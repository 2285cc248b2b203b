"""Corrections from the ledger as a table, ready for the scrubber.

Owns the shape and the order. The texts in it are still raw: it goes to the scrubber and nowhere else.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from fine_tune_assets.core.fingerprints import keyed_hash
from fine_tune_assets.core.records import Correction
from fine_tune_assets.core.retrieval_contract import AnsweredFrom
from fine_tune_assets.core.tables import SCRUBBED_CORRECTIONS, table_of


def raw_corrections_table(corrections: Sequence[Correction], patient_secret: bytes) -> pa.Table:
    """One row a correction, sorted by id, in the columns of `scrubbed_corrections`.

    Nobody says which patient a correction is about, so each counts as a patient of its own and stays in one split.
    """
    rows = (
        {
            "correction_id": correction.correction_id,
            "release_id": correction.release_id,
            "author": correction.author,
            "patient_key": keyed_hash(patient_secret, f"correction/{correction.correction_id}"),
            "instruction": correction.instruction,
            "input": correction.input,
            "output": correction.corrected_answer,
            "answer": correction.answer,
            "error_kind": correction.error_kind,
            "severity": correction.severity,
            "received_at": correction.received_at,
            **_answered_from(correction.answered_from),
        }
        for correction in sorted(corrections, key=lambda c: c.correction_id)
    )
    return table_of(rows, SCRUBBED_CORRECTIONS)


def _answered_from(answered: AnsweredFrom | None) -> dict[str, Any]:
    if answered is None:
        return {"knowledge_index": None, "passages": None}
    return {"knowledge_index": answered.knowledge_index, "passages": [asdict(one) for one in answered.passages]}

"""Which rows of its instruction set a release learned from. Owns reading that, also of a set that was erased since."""

from typing import Any

from fine_tune_assets.core.paths import Layout
from fine_tune_assets.core.records import Release
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.erasures import LEARNED_FROM
from fine_tune_assets.lineage.instruction_sets import find_set
from fine_tune_assets.lineage.trainings import list_trainings


def learned_rows(layout: Layout, ledger: Ledger, release: Release) -> list[dict[str, Any]] | None:
    """The rows that decided what it became, less those that were left out as too long; without text.

    None where nobody can tell by which decisions they were approved: the set is gone, or of before provenance was kept.
    """
    stored = find_set(layout.instruction_sets, release.instruction_set_fingerprint)
    rows = None if stored is None else stored.all_rows()
    if rows is None or not {"approval_kind", "decision_ids"} <= set(rows.schema.names) or not rows.num_rows:
        return None
    pair = (release.adapter_id, release.instruction_set_fingerprint)
    too_long = {
        example_id
        for training in list_trainings(layout, ledger)
        if (training.adapter_id, training.instruction_set_fingerprint) == pair
        for example_id in training.too_long or ()
    }
    return [row for row in rows.to_pylist() if row["split"] in LEARNED_FROM and row["example_id"] not in too_long]

"""Which adapter was trained on which instruction set, which examples were left out as too long, and what a release learned from.

Owns the record that a training leaves beside its adapter, and joining it with what the ledger knows. The record is no part of the
adapter: its folder is named by its content.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from fine_tune_assets.core.files import write_text
from fine_tune_assets.core.fingerprints import short
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.core.records import Release
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.reviews.erasures import LEARNED_FROM
from fine_tune_assets.ledger.schema import releases, verdicts
from fine_tune_assets.lineage.instruction_sets import find_set

_ENDING = ".training.json"


@dataclass(frozen=True)
class Training:
    adapter_id: str
    instruction_set_fingerprint: str
    too_long: tuple[str, ...] | None
    """Examples that the model did not see; None where its record is lost."""


def record_training(adapters: Path, adapter_id: str, instruction_set_fingerprint: str, too_long: Sequence[str]) -> None:
    """Keep what the adapter was trained on. The same training on another set is another record."""
    path = adapters / f"{short(adapter_id)}-{short(instruction_set_fingerprint)}{_ENDING}"
    values = {
        "adapter_id": adapter_id,
        "instruction_set_fingerprint": instruction_set_fingerprint,
        "too_long": sorted(too_long),
    }
    write_text(path, json.dumps(values, indent=2))


def list_trainings(layout: Layout, ledger: Ledger) -> list[Training]:
    """Every training that is known, by its record, a verdict or a release."""
    recorded = [_read(path) for path in sorted(layout.adapters.glob(f"*{_ENDING}"))]
    known = {(t.adapter_id, t.instruction_set_fingerprint): t for t in recorded}
    for pair in _in_ledger(ledger):
        known.setdefault(pair, Training(*pair, too_long=None))
    return [known[pair] for pair in sorted(known)]


def forget_examples(adapters: Path, example_ids: Collection[str]) -> int:
    """Take the examples out of every record; how many there were."""
    count = 0
    for path in sorted(adapters.glob(f"*{_ENDING}")):
        training = _read(path)
        kept = [e for e in training.too_long or () if e not in example_ids]
        gone = len(training.too_long or ()) - len(kept)
        if gone:
            record_training(adapters, training.adapter_id, training.instruction_set_fingerprint, kept)
        count += gone
    return count


def _read(path: Path) -> Training:
    values = json.loads(path.read_text(encoding="utf-8"))
    return Training(values["adapter_id"], values["instruction_set_fingerprint"], tuple(values["too_long"]))


def _in_ledger(ledger: Ledger) -> list[tuple[str, str]]:
    with ledger.read() as connection:
        return [
            (row[0], row[1])
            for table in (verdicts, releases)
            for row in connection.execute(sa.select(table.c.adapter_id, table.c.instruction_set_fingerprint).distinct())
        ]


def learned_rows(layout: Layout, ledger: Ledger, release: Release) -> list[dict[str, Any]] | None:
    """The rows that decided what it became, less those that were left out as too long; without text.

    None where the set is gone, or an erasure left nothing of it.
    """
    stored = find_set(layout.instruction_sets, release.instruction_set_fingerprint)
    rows = None if stored is None else stored.all_rows()
    if rows is None or not rows.num_rows:
        return None
    pair = (release.adapter_id, release.instruction_set_fingerprint)
    too_long = {
        example_id
        for training in list_trainings(layout, ledger)
        if (training.adapter_id, training.instruction_set_fingerprint) == pair
        for example_id in training.too_long or ()
    }
    return [row for row in rows.to_pylist() if row["split"] in LEARNED_FROM and row["example_id"] not in too_long]

"""Records which adapter was trained on which set and which examples were excluded as too long, and lists what a release learned.

The record is stored next to the adapter's folder, which is named by its content.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa

from fine_tune_assets.core.files import write_text
from fine_tune_assets.core.fingerprints import short
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.core.shared_records import Release
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.ledger_tables import releases, verdicts
from fine_tune_assets.ledger.reviews.erasures import TRAINING_SPLITS
from fine_tune_assets.lineage.set_history import find_set
from fine_tune_assets.tables.instruction_rows import ProvenanceRow
from fine_tune_assets.tables.record_classes import iter_records

_ENDING = ".training.json"


@dataclass(frozen=True)
class TrainingRun:
    adapter_id: str
    instruction_set_fingerprint: str
    excluded_too_long: tuple[str, ...] | None
    """Examples excluded from training; None if the record is lost."""


def record_training_run(
    adapters: Path, adapter_id: str, instruction_set_fingerprint: str, too_long: Sequence[str]
) -> None:
    """Store the training's record. Training on another set makes another record."""
    path = adapters / f"{short(adapter_id)}-{short(instruction_set_fingerprint)}{_ENDING}"
    values = {
        "adapter_id": adapter_id,
        "instruction_set_fingerprint": instruction_set_fingerprint,
        "excluded_too_long": sorted(too_long),
    }
    write_text(path, json.dumps(values, indent=2))


def list_training_runs(layout: Layout, ledger: Ledger) -> list[TrainingRun]:
    """Every training known from a record, a verdict or a release."""
    recorded = [_read_record(path) for path in sorted(layout.adapters.glob(f"*{_ENDING}"))]
    known = {(t.adapter_id, t.instruction_set_fingerprint): t for t in recorded}
    for pair in _list_ledger_pairs(ledger):
        known.setdefault(pair, TrainingRun(*pair, excluded_too_long=None))
    return [known[pair] for pair in sorted(known)]


def list_training_times(adapters: Path) -> list[tuple[str, datetime]]:
    """Short id of each adapter whose folder exists, with the time of its record."""
    records = ((path.name.partition("-")[0], path) for path in adapters.glob(f"*{_ENDING}"))
    return [
        (adapter, datetime.fromtimestamp(path.stat().st_mtime, UTC))
        for adapter, path in records
        if (adapters / adapter).is_dir()
    ]


def remove_examples(adapters: Path, example_ids: Collection[str]) -> int:
    """Remove the examples from every record; return the number of removed entries."""
    count = 0
    for path in sorted(adapters.glob(f"*{_ENDING}")):
        training = _read_record(path)
        remaining = [e for e in training.excluded_too_long or () if e not in example_ids]
        removed = len(training.excluded_too_long or ()) - len(remaining)
        if removed:
            record_training_run(adapters, training.adapter_id, training.instruction_set_fingerprint, remaining)
        count += removed
    return count


def _read_record(path: Path) -> TrainingRun:
    values = json.loads(path.read_text(encoding="utf-8"))
    return TrainingRun(values["adapter_id"], values["instruction_set_fingerprint"], tuple(values["excluded_too_long"]))


def _list_ledger_pairs(ledger: Ledger) -> list[tuple[str, str]]:
    with ledger.read() as connection:
        return [
            (row[0], row[1])
            for table in (verdicts, releases)
            for row in connection.execute(sa.select(table.c.adapter_id, table.c.instruction_set_fingerprint).distinct())
        ]


def read_learned_rows(layout: Layout, ledger: Ledger, release: Release) -> list[ProvenanceRow] | None:
    """The rows that the release learned from, without those excluded as too long and without text.

    None if the set no longer exists, or an erasure left nothing of it.
    """
    stored = find_set(layout.instruction_sets, release.instruction_set_fingerprint)
    rows = [] if stored is None else list(iter_records(ProvenanceRow, stored.read_rows()))
    if not rows:
        return None
    pair = (release.adapter_id, release.instruction_set_fingerprint)
    too_long = {
        example_id
        for training in list_training_runs(layout, ledger)
        if (training.adapter_id, training.instruction_set_fingerprint) == pair
        for example_id in training.excluded_too_long or ()
    }
    return [row for row in rows if row.split in TRAINING_SPLITS and row.example_id not in too_long]

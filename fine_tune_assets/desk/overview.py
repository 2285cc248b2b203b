"""Reads the data of the home page: the ten stages with counts and running steps, and the production model with its verdict.

The sources are Parquet footers, the ledger and the files of running steps. The records contain no report text. The page decides
which role sees which part.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

import pyarrow.parquet as pq
from pydantic import ValidationError

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.core.progress import RunningStep, list_running_steps
from fine_tune_assets.core.shared_records import CANDIDATE_KEY
from fine_tune_assets.core.shipped_release import find_shipped_release
from fine_tune_assets.core.stages import STAGES
from fine_tune_assets.judging.verdicts.evidence import read_evidence
from fine_tune_assets.judging.verdicts.verdict_metrics import Metric
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.serving.deployments import PENDING, Deployment, list_current_deployments
from fine_tune_assets.ledger.serving.imported_releases import find_import
from fine_tune_assets.ledger.serving.release_records import find_release
from fine_tune_assets.ledger.serving.verdict_records import VerdictRecord, find_verdict, list_verdict_summaries
from fine_tune_assets.ledger.serving.verdicts import is_intact, require_promotion
from fine_tune_assets.ledger.stage_counts import LedgerCounts, count_records

Origin = Literal["shipped", "imported", "local"]


@dataclass(frozen=True)
class Count:
    number: int
    singular: str
    plural: str

    @property
    def label(self) -> str:
        return self.singular if self.number == 1 else self.plural


@dataclass(frozen=True)
class StageSummary:
    group: str
    title: str
    main: Count | None
    """None until the stage has produced something."""
    more: tuple[Count, ...]
    running: tuple[RunningStep, ...]

    @property
    def number(self) -> int:
        return int(self.group[1:3])


@dataclass(frozen=True)
class VerdictSummary:
    verdict_id: str
    decision: str
    reasons: tuple[str, ...]
    signers: tuple[str, ...]
    is_intact: bool
    """Whether the verdict is unchanged since it was recorded."""
    target_metric: Metric | None
    """The gain on the recipe's task, with its interval."""

    @property
    def is_deployable(self) -> bool:
        return self.decision == "promote" or (self.decision == "hold" and bool(self.signers))


@dataclass(frozen=True)
class ProductionModel:
    release_id: str
    origin: Origin
    live_since: datetime | None
    is_engine_running: bool
    """False while the engine starts."""
    verdict: VerdictSummary | None


@dataclass(frozen=True)
class CandidateSummary:
    """A release that is being deployed."""

    release_id: str
    origin: Origin
    state: str


@dataclass(frozen=True)
class ModelSummary:
    production: ProductionModel | None
    candidate: CandidateSummary | None
    blocking_verdict: VerdictSummary | None
    """The newest verdict, if it blocks a release."""


class TableCounts:
    """Row counts of tables, from Parquet footers. Reads a file again only after it changed."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._rows: dict[Path, tuple[int, int, int]] = {}

    def count_rows(self, table: str) -> int | None:
        """None if the table was never written."""
        files = sorted((self._layout.tables / table).glob("*.parquet"))
        return sum(self._count_file_rows(file) for file in files) if files else None

    def _count_file_rows(self, file: Path) -> int:
        try:
            found = file.stat()
            known = self._rows.get(file)
            if known is None or known[:2] != (found.st_mtime_ns, found.st_size):
                known = self._rows[file] = (found.st_mtime_ns, found.st_size, pq.read_metadata(file).num_rows)
        except (OSError, ValueError):  # just replaced or removed, or damaged
            return 0
        return known[2]


_TABLES: Mapping[str, Sequence[tuple[str, str, str]]] = {
    "s01_raw_reports": [
        ("reports", "report read", "reports read"),
        ("unreadable_reports", "could not be read", "could not be read"),
    ],
    "s02_scrubbed_reports": [
        ("scrubbed_reports", "report scrubbed", "reports scrubbed"),
        ("phi_spans", "identifier removed", "identifiers removed"),
    ],
    "s03_unique_reports": [
        ("unique_reports", "distinct report", "distinct reports"),
        ("duplicate_reports", "duplicate dropped", "duplicates dropped"),
    ],
    "s04_approved_examples": [
        ("approved_examples", "example approved", "examples approved"),
        ("drafted_examples", "drafted", "drafted"),
    ],
    "s05_instruction_sets": [
        ("instruction_sets", "example in the set", "examples in the set"),
        ("excluded_examples", "excluded", "excluded"),
    ],
    "s07_judge_scores": [("judge_scores", "answer graded", "answers graded")],
    "s10_corrections": [("quarantined_corrections", "in quarantine", "in quarantine")],
}
"""Stage → (table, singular label of a row, plural label)."""


def read_stages(layout: Layout, ledger: Ledger, tables: TableCounts, now: float) -> list[StageSummary]:
    """All ten stages in order. `now` is in Unix seconds."""
    records, steps = count_records(ledger), list_running_steps(layout.running_steps, now)
    return [_summarize_stage(group, layout, tables, records, steps) for group in STAGES]


def _summarize_stage(
    group: str, layout: Layout, tables: TableCounts, records: LedgerCounts, steps: Sequence[RunningStep]
) -> StageSummary:
    counted = _TABLES.get(group, ())
    found = [Count(number, one, many) for table, one, many in counted if (number := tables.count_rows(table))]
    found += [count for count in _count_ledger_records(group, layout, records) if count.number]
    running = tuple(step for step in steps if step.stage == group)
    return StageSummary(group, STAGES[group], found[0] if found else None, tuple(found[1:]), running)


def _count_ledger_records(group: str, layout: Layout, records: LedgerCounts) -> list[Count]:
    trained = sum(path.is_dir() and not path.name.startswith(".") for path in _list_entries(layout.adapters))
    of_stage: Mapping[str, Count] = {
        "s04_approved_examples": Count(records.open_reviews, "waits for review", "wait for review"),
        "s06_adapters": Count(trained, "adapter trained", "adapters trained"),
        "s07_judge_scores": Count(records.verdicts, "verdict", "verdicts"),
        "s08_merged_weights": Count(records.releases, "release", "releases"),
        "s09_served_models": Count(records.served_releases, "release served", "releases served"),
        "s10_corrections": Count(records.corrections, "correction received", "corrections received"),
    }
    return [of_stage[group]] if group in of_stage else []


def _list_entries(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def read_model_summary(ledger: Ledger) -> ModelSummary:
    current = list_current_deployments(ledger)
    live = next((deployment for deployment in current if deployment.state == "live"), None)
    pending = next((deployment for deployment in current if deployment.state in PENDING), None)
    production = None if live is None else _summarize_production(ledger, live)
    lines = list_verdict_summaries(ledger, before=None, limit=1)
    record = find_verdict(ledger, lines[0].verdict_id) if lines else None
    newest = None if record is None else _summarize_record(record)
    is_stopped = newest is not None and not newest.is_deployable
    return ModelSummary(
        production,
        None
        if pending is None
        else CandidateSummary(pending.release_id, find_origin(ledger, pending.release_id), pending.state),
        newest if is_stopped else None,
    )


def _summarize_production(ledger: Ledger, live: Deployment) -> ProductionModel:
    release = find_release(ledger, live.release_id)
    record = None if release is None else find_verdict(ledger, release.verdict_id)
    return ProductionModel(
        live.release_id,
        find_origin(ledger, live.release_id),
        live.live_since,
        live.engine_url is not None,
        _summarize_import(ledger, live.release_id) if record is None else _summarize_record(record),
    )


def find_origin(ledger: Ledger, release_id: str) -> Origin:
    """Whether a release was shipped with the repository, imported, or built here.

    A machine that rebuilds the shipped release with the demo recipe counts it as local.
    """
    if find_import(ledger, release_id) is None:
        return "local"
    shipped = find_shipped_release()
    return "shipped" if shipped is not None and shipped.release_id == release_id else "imported"


def _summarize_record(record: VerdictRecord) -> VerdictSummary:
    signers = tuple(signature.approver for signature in record.signatures if signature.is_valid)
    return VerdictSummary(
        record.verdict.verdict_id,
        record.verdict.decision,
        record.verdict.reasons,
        signers,
        record.is_intact,
        _read_target_metric(record.verdict.evidence),
    )


def _summarize_import(ledger: Ledger, release_id: str) -> VerdictSummary | None:
    """Summary of the verdict that an imported release contains. The verdict's id is the hash of its content."""
    found = find_import(ledger, release_id)
    if found is None:
        return None
    verdict = found.verdict
    return VerdictSummary(
        verdict.verdict_id,
        verdict.decision,
        verdict.reasons,
        found.signers,
        is_intact(verdict),
        _read_target_metric(verdict.evidence),
    )


def _read_target_metric(evidence: str) -> Metric | None:
    try:
        return read_evidence(evidence).target
    except ValidationError:  # written by another version
        return None


def explain_block(verdict: VerdictSummary, ledger: Ledger) -> str:
    """The gate's message: why the verdict blocks the release, and what to do."""
    record = find_verdict(ledger, verdict.verdict_id)
    assert record is not None
    try:
        require_promotion(ledger, **{name: getattr(record.verdict, name) for name in CANDIDATE_KEY})
    except GateClosedError as error:
        return str(error)
    return ""

"""What the first page shows: the ten stages with their counts, the steps that run, and the production model with its verdict.

Owns reading these, as typed records without any text of a report. Reads the footers of Parquet files, the ledger and the files of
running steps; nothing heavy is imported. Who may see what is the page's.
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
from fine_tune_assets.core.progress import RunningStep, running_steps
from fine_tune_assets.core.records import CANDIDATE_KEY
from fine_tune_assets.core.shipped_release import shipped_release
from fine_tune_assets.core.stages import STAGES
from fine_tune_assets.judging.verdicts.evidence import read_evidence
from fine_tune_assets.judging.verdicts.figures import Figure
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.serving.deployments import PENDING, Deployment, current_deployments
from fine_tune_assets.ledger.serving.imported_releases import find_import
from fine_tune_assets.ledger.serving.releases import find_release
from fine_tune_assets.ledger.serving.verdict_records import VerdictRecord, find_verdict, verdict_lines
from fine_tune_assets.ledger.serving.verdicts import is_whole, require_promotion
from fine_tune_assets.ledger.stage_counts import LedgerCounts, count_records

Origin = Literal["shipped", "imported", "own"]


@dataclass(frozen=True)
class Count:
    number: int
    one: str
    """What one of them is called."""
    many: str

    @property
    def what(self) -> str:
        return self.one if self.number == 1 else self.many


@dataclass(frozen=True)
class Stage:
    group: str
    title: str
    main: Count | None
    """None while the stage has made nothing."""
    more: tuple[Count, ...]
    running: tuple[RunningStep, ...]

    @property
    def number(self) -> int:
        return int(self.group[1:3])


@dataclass(frozen=True)
class VerdictFigures:
    verdict_id: str
    decision: str
    reasons: tuple[str, ...]
    signers: tuple[str, ...]
    is_whole: bool
    """Nobody changed it after it was recorded."""
    target: Figure | None
    """The difference in the task itself, with its interval."""

    @property
    def opens_the_gate(self) -> bool:
        return self.decision == "promote" or (self.decision == "hold" and bool(self.signers))


@dataclass(frozen=True)
class ProductionModel:
    release_id: str
    origin: Origin
    live_since: datetime | None
    is_up: bool
    """Its engine answers. False for the moments in which it is started."""
    verdict: VerdictFigures | None


@dataclass(frozen=True)
class Candidate:
    """A release on its way to the users."""

    release_id: str
    origin: Origin
    state: str


@dataclass(frozen=True)
class Models:
    production: ProductionModel | None
    candidate: Candidate | None
    stopped: VerdictFigures | None
    """The newest verdict, where it lets nothing through."""


class TableCounts:
    """Rows of tables, by the footers of their files. A file that has not changed is read once."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._rows: dict[Path, tuple[int, int, int]] = {}

    def rows(self, table: str) -> int | None:
        """None where the table was never written."""
        files = sorted((self._layout.tables / table).glob("*.parquet"))
        return sum(self._rows_of(file) for file in files) if files else None

    def _rows_of(self, file: Path) -> int:
        try:
            found = file.stat()
            known = self._rows.get(file)
            if known is None or known[:2] != (found.st_mtime_ns, found.st_size):
                known = self._rows[file] = (found.st_mtime_ns, found.st_size, pq.read_metadata(file).num_rows)
        except (OSError, ValueError):  # it was replaced or removed at this moment, or is damaged
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
        ("left_out_examples", "left out", "left out"),
    ],
    "s07_judge_scores": [("judge_scores", "answer graded", "answers graded")],
    "s10_corrections": [("quarantined_corrections", "in quarantine", "in quarantine")],
}
"""Stage → its tables, and what a row of each is: one of them, and several."""


def read_stages(layout: Layout, ledger: Ledger, tables: TableCounts, now: float) -> list[Stage]:
    """All ten, in their order. `now` in Unix seconds."""
    records, steps = count_records(ledger), running_steps(layout.running_steps, now)
    return [_stage(group, layout, tables, records, steps) for group in STAGES]


def _stage(
    group: str, layout: Layout, tables: TableCounts, records: LedgerCounts, steps: Sequence[RunningStep]
) -> Stage:
    asked = _TABLES.get(group, ())
    found = [Count(number, one, many) for table, one, many in asked if (number := tables.rows(table))]
    found += [count for count in _of_ledger(group, layout, records) if count.number]
    running = tuple(step for step in steps if step.stage == group)
    return Stage(group, STAGES[group], found[0] if found else None, tuple(found[1:]), running)


def _of_ledger(group: str, layout: Layout, records: LedgerCounts) -> list[Count]:
    trained = sum(path.is_dir() and not path.name.startswith(".") for path in _listed(layout.adapters))
    of_stage: Mapping[str, Count] = {
        "s04_approved_examples": Count(records.waiting, "waits for review", "wait for review"),
        "s06_adapters": Count(trained, "adapter trained", "adapters trained"),
        "s07_judge_scores": Count(records.verdicts, "verdict", "verdicts"),
        "s08_merged_weights": Count(records.releases, "release", "releases"),
        "s09_served_models": Count(records.served, "release served", "releases served"),
        "s10_corrections": Count(records.corrections, "correction received", "corrections received"),
    }
    return [of_stage[group]] if group in of_stage else []


def _listed(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def read_models(ledger: Ledger) -> Models:
    current = current_deployments(ledger)
    live = next((deployment for deployment in current if deployment.state == "live"), None)
    pending = next((deployment for deployment in current if deployment.state in PENDING), None)
    production = None if live is None else _production(ledger, live)
    lines = verdict_lines(ledger, before=None, limit=1)
    record = find_verdict(ledger, lines[0].verdict_id) if lines else None
    newest = None if record is None else _figures_of(record)
    is_stopped = newest is not None and not newest.opens_the_gate
    return Models(
        production,
        None
        if pending is None
        else Candidate(pending.release_id, origin_of(ledger, pending.release_id), pending.state),
        newest if is_stopped else None,
    )


def _production(ledger: Ledger, live: Deployment) -> ProductionModel:
    release = find_release(ledger, live.release_id)
    record = None if release is None else find_verdict(ledger, release.verdict_id)
    return ProductionModel(
        live.release_id,
        origin_of(ledger, live.release_id),
        live.live_since,
        live.engine_url is not None,
        _figures_of_import(ledger, live.release_id) if record is None else _figures_of(record),
    )


def origin_of(ledger: Ledger, release_id: str) -> Origin:
    """Whether a release came with the repository, was imported, or was made here. The demo's recipe makes the shipped release
    again on many machines: from then on it is their own."""
    if find_import(ledger, release_id) is None:
        return "own"
    shipped = shipped_release()
    return "shipped" if shipped is not None and shipped.release_id == release_id else "imported"


def _figures_of(record: VerdictRecord) -> VerdictFigures:
    signers = tuple(signature.approver for signature in record.signatures if signature.counts)
    return VerdictFigures(
        record.verdict.verdict_id,
        record.verdict.decision,
        record.verdict.reasons,
        signers,
        record.is_whole,
        _target_of(record.verdict.evidence),
    )


def _figures_of_import(ledger: Ledger, release_id: str) -> VerdictFigures | None:
    """Of the verdict that came with the release. Its id is the hash of its content."""
    found = find_import(ledger, release_id)
    if found is None:
        return None
    verdict = found.verdict
    return VerdictFigures(
        verdict.verdict_id,
        verdict.decision,
        verdict.reasons,
        found.signers,
        is_whole(verdict),
        _target_of(verdict.evidence),
    )


def _target_of(evidence: str) -> Figure | None:
    try:
        return read_evidence(evidence).target
    except ValidationError:  # it was written by another version
        return None


def next_step(stopped: VerdictFigures, ledger: Ledger) -> str:
    """Why a verdict lets nothing through and what a person can do about it, in the gate's own words."""
    record = find_verdict(ledger, stopped.verdict_id)
    assert record is not None
    try:
        require_promotion(ledger, **{name: getattr(record.verdict, name) for name in CANDIDATE_KEY})
    except GateClosedError as error:
        return str(error)
    return ""

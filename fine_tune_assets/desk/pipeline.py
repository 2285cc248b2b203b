"""The pipeline strip of the home page: eight steps from reports to corrections, with figures, states and times of change.

The sources are Parquet footers, the ledger and the files of running steps. The records contain no report text.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import pyarrow.parquet as pq

from fine_tune_assets.core.dagster_ui import asset_path
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.core.permissions import Action, may
from fine_tune_assets.core.progress import RunningStep, list_running_steps
from fine_tune_assets.core.stages import STAGES
from fine_tune_assets.desk.model_summary import ModelSummary
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.record_counts import LedgerCounts, count_records

StepState = Literal["empty", "done", "waiting", "running"]
"""`waiting`: the step waits for a person."""


@dataclass(frozen=True)
class PipelineStep:
    name: str
    title: str
    figure: str
    """Such as "343"; empty until the step has produced something."""
    note: str
    """Such as "4 withheld"."""
    state: StepState
    changed_at: datetime | None
    """None if unknown."""
    running: tuple[RunningStep, ...] = ()
    path: str = ""
    """The page about it; empty if the user may open none."""


@dataclass(frozen=True)
class StoredTable:
    rows: int
    written_at: datetime


class TableCounts:
    """Row counts of tables, from Parquet footers. Reads a file again only after it changed."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._rows: dict[Path, tuple[int, int, int]] = {}

    def find_table(self, table: str) -> StoredTable | None:
        """None if the table was never written."""
        found = [self._read_file(path) for path in sorted((self._layout.tables / table).glob("*.parquet"))]
        if not found:
            return None
        return StoredTable(
            sum(rows for rows, _ in found), datetime.fromtimestamp(max(at for _, at in found) / 1e9, tz=UTC)
        )

    def _read_file(self, path: Path) -> tuple[int, int]:
        """(Rows, time of change in nanoseconds)."""
        try:
            stat = path.stat()
            known = self._rows.get(path)
            if known is None or known[:2] != (stat.st_mtime_ns, stat.st_size):
                known = self._rows[path] = (stat.st_mtime_ns, stat.st_size, pq.read_metadata(path).num_rows)
        except (OSError, ValueError):  # just replaced or removed, or damaged
            return 0, 0
        return known[2], known[0]


@dataclass(frozen=True)
class PipelineFacts:
    tables: Mapping[str, StoredTable]
    """Table → its state; without tables that were never written."""
    adapters: int
    """Trained adapters."""
    withheld: int | None
    """Reports in which the scrubber found residual PHI; None before scrubbing, or while the tables are being replaced."""
    records: LedgerCounts
    running: tuple[RunningStep, ...]

    def count_rows(self, table: str) -> int:
        found = self.tables.get(table)
        return 0 if found is None else found.rows

    def written_at(self, table: str) -> datetime | None:
        found = self.tables.get(table)
        return None if found is None else found.written_at


_TABLES = (
    "reports", "unreadable_reports", "scrubbed_reports", "unique_reports", "duplicate_reports", "approved_examples",
    "adapters",
)  # fmt: skip
GATE_CLOSED = "gate closed"
STEP_BY_STAGE = {
    "s01_raw_reports": "reports",
    "s02_scrubbed_reports": "scrubbed",
    "s03_unique_reports": "unique",
    "s04_approved_examples": "examples",
    "s05_instruction_sets": "examples",
    "s06_adapters": "training",
    "s07_judge_scores": "verdict",
    "s08_merged_weights": "live",
    "s09_served_models": "live",
    "s10_corrections": "corrections",
}


def read_facts(layout: Layout, ledger: Ledger, tables: TableCounts, withheld: int | None, now: float) -> PipelineFacts:
    """`now` is in Unix seconds."""
    found = {name: table for name in _TABLES if (table := tables.find_table(name)) is not None}
    trained = found.get("adapters")
    return PipelineFacts(
        found,
        _count_folders(layout.adapters),
        withheld,
        count_records(ledger, since=None if trained is None else trained.written_at),
        tuple(list_running_steps(layout.running_steps, now)),
    )


def _count_folders(folder: Path) -> int:
    entries = folder.iterdir() if folder.is_dir() else ()
    return sum(path.is_dir() and not path.name.startswith(".") for path in entries)


def build_pipeline(
    facts: PipelineFacts,
    models: ModelSummary | None,
    roles: Collection[str],
    now: datetime,
    model_name: str = "",
    line: str = "",
    closed_stages: Collection[str] = (),
) -> list[PipelineStep]:
    """The steps in order, as a user with these roles sees them; without those of models if they may not see any.

    `model_name`: readable name of the production model. `line`: the product line; empty: the main line. `closed_stages`: stages
    with a closed gate.
    """
    sees_verdicts = may(roles, Action.VIEW_VERDICTS)
    steps = [
        *_build_report_steps(facts),
        _build_example_step(facts),
        PipelineStep(
            "training",
            "Training",
            pluralize(facts.adapters, "adapter") if facts.adapters else "",
            "",
            "done",
            facts.written_at("adapters"),
        ),
        *(
            []
            if models is None
            else [_build_verdict_step(models, sees_verdicts), _build_live_step(models, model_name, now)]
        ),
        _build_correction_step(facts.records),
    ]
    verdict = models.newest_verdict if models is not None and sees_verdicts else None
    verdict_id = None if verdict is None else verdict.verdict_id
    completed = [_complete(step, facts.running, _find_path(step.name, verdict_id, roles, line)) for step in steps]
    return _wait_for_gates(completed, closed_stages)


def _wait_for_gates(steps: Sequence[PipelineStep], closed_stages: Collection[str]) -> list[PipelineStep]:
    """The steps, of which those behind a closed gate wait: the next one, and the later ones that made nothing yet."""
    stages = list(STAGES)
    behind = [
        [STEP_BY_STAGE[later] for later in stages[stages.index(stage) + 1 : -1]]
        for stage in closed_stages
        if stage in STAGES
    ]
    following = {names[0] for names in behind if names}
    later = {name for names in behind for name in names}

    def waits(step: PipelineStep) -> bool:
        is_idle = step.state == "empty" and step.name in later
        return step.state != "running" and (step.name in following or is_idle)

    return [replace(step, state="waiting", note=step.note or GATE_CLOSED) if waits(step) else step for step in steps]


def _build_report_steps(facts: PipelineFacts) -> list[PipelineStep]:
    unreadable, duplicates = facts.count_rows("unreadable_reports"), facts.count_rows("duplicate_reports")
    withheld = facts.withheld or 0

    def build(name: str, title: str, table: str, note: str, is_waiting: bool = False) -> PipelineStep:
        rows = facts.count_rows(table)
        state: StepState = "waiting" if is_waiting else "done"
        return PipelineStep(name, title, _format_count(rows), note, state, facts.written_at(table))

    return [
        build("reports", "Reports", "reports", _count("unreadable", unreadable), unreadable > 0),
        build("scrubbed", "Scrubbed", "scrubbed_reports", _count("withheld", withheld), withheld > 0),
        build("unique", "Unique", "unique_reports", pluralize(duplicates, "duplicate") if duplicates else ""),
    ]


def _build_example_step(facts: PipelineFacts) -> PipelineStep:
    approved, waiting = facts.count_rows("approved_examples"), facts.records.open_reviews
    figure = f"{approved:,}" if approved or waiting else ""
    note = _count("to review", waiting)
    return PipelineStep(
        "examples", "Examples", figure, note, "waiting" if waiting else "done", facts.written_at("approved_examples")
    )


def _build_verdict_step(models: ModelSummary, sees_verdicts: bool) -> PipelineStep:
    """Reviewers rate answers blindly, so they learn only that there is a verdict."""
    verdict = models.newest_verdict
    if verdict is None:
        return PipelineStep("verdict", "Verdict", "", "", "done", None)
    if not sees_verdicts:
        return PipelineStep("verdict", "Verdict", "Recorded", "", "done", verdict.recorded_at)
    gain = None if verdict.target_metric is None else verdict.target_metric.difference
    note = "" if gain is None else f"{gain:+.2f}"
    state: StepState = "done" if verdict.is_deployable else "waiting"
    return PipelineStep("verdict", "Verdict", verdict.decision.capitalize(), note, state, verdict.recorded_at)


def _build_live_step(models: ModelSummary, model_name: str, now: datetime) -> PipelineStep:
    model = models.production
    if model is None:
        return PipelineStep("live", "Live", "", "", "done", None)
    since = "" if model.live_since is None else f"since {_format_time(model.live_since, now)}"
    note = since if model.is_engine_running else "starting"
    return PipelineStep("live", "Live", model_name or model.release_id[:8], note, "done", None)


def _build_correction_step(records: LedgerCounts) -> PipelineStep:
    note = _count("new", records.new_corrections)
    return PipelineStep(
        "corrections", "Corrections", _format_count(records.corrections), note, "done", records.last_correction_at
    )


def _complete(step: PipelineStep, running: Sequence[RunningStep], path: str) -> PipelineStep:
    own = tuple(found for found in running if STEP_BY_STAGE.get(found.stage) == step.name)
    state: StepState = "running" if own else step.state if step.figure else "empty"
    return replace(step, running=own, state=state, path=path)


_PAGES: Mapping[str, Sequence[tuple[Action, str]]] = {
    "reports": [(Action.VIEW_INTAKE, "/intake"), (Action.VIEW_DAGSTER, "reports")],
    "scrubbed": [(Action.VIEW_INTAKE, "/intake"), (Action.VIEW_DAGSTER, "scrubbed_reports")],
    "unique": [(Action.VIEW_DAGSTER, "unique_reports")],
    "examples": [
        (Action.REVIEW, "/queue"),
        (Action.ADJUDICATE, "/disagreements"),
        (Action.VIEW_DAGSTER, "approved_examples"),
    ],
    "training": [(Action.VIEW_DAGSTER, "adapters")],
    "verdict": [(Action.VIEW_VERDICTS, "/verdicts")],
    "live": [(Action.VIEW_DAGSTER, "served_models"), (Action.ASK, "/ask")],
    "corrections": [
        (Action.DECIDE_QUARANTINE, "/quarantine"),
        (Action.VIEW_IMPACT, "/impact"),
        (Action.VIEW_DAGSTER, "corrections"),
    ],
}
"""Step → pages about it, the first that the user may open counts: an address, or the name of an asset."""


def _find_path(step: str, verdict_id: str | None, roles: Collection[str], line: str) -> str:
    path = find_page(_PAGES[step], roles, line)
    return f"{path}/{verdict_id}" if step == "verdict" and path and verdict_id else path


def find_page(pages: Sequence[tuple[Action, str]], roles: Collection[str], line: str) -> str:
    """The address of the first of these pages or assets that the user may open; empty if there is none."""
    page = next((page for action, page in pages if may(roles, action)), "")
    return asset_path(page, line) if page and not page.startswith("/") else page


def _format_time(at: datetime, now: datetime) -> str:
    """The time of today, or the day. In UTC."""
    return f"{at:%H:%M} UTC" if at.date() == now.date() else f"{at.day} {at:%b}"


def _format_count(number: int) -> str:
    return f"{number:,}" if number else ""


def _count(what: str, number: int) -> str:
    return f"{number:,} {what}" if number else ""


def pluralize(number: int, singular: str, plural: str = "") -> str:
    """
    >>> pluralize(1, "report"), pluralize(2000, "batch")
    ('1 report', '2,000 batches')
    """
    plural = plural or (f"{singular}es" if singular.endswith("ch") else f"{singular}s")
    return f"{number:,} {singular if number == 1 else plural}"

"""The asset and its check over a real ledger and a training set in its place."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fine_tune_assets.core.erased_sets import REMAINING_FILE, ErasedSet, write_erased_set
from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.prompts.conversations import user_content
from fine_tune_assets.core.prompts.retrieval_contract import CorrectionPassage, add_passages_to_example
from fine_tune_assets.defs.platform.notifications import recent_messages
from fine_tune_assets.defs.platform.resources import Installation, parquet_io_manager
from fine_tune_assets.defs.s10_corrections.production_drift import (
    production_drift,
    production_traffic_matches_training,
    training_exchanges,
)
from fine_tune_assets.drift.exchange_features import (
    Exchange,
    extract_features,
    extractor_fingerprint,
    sum_features,
    task_headings,
)
from fine_tune_assets.ledger.audit.request_log import record_requests
from fine_tune_assets.ledger.serving.deployments import record_state, request_deployment, switch_traffic
from fine_tune_assets.ledger.serving.request_features import WindowRow, add_window
from fine_tune_assets.tables.instruction_rows import InstructionRow
from fine_tune_assets.tables.record_classes import table_from_rows
from fine_tune_assets_tests.ledger.audit.audit_lines import a_line
from fine_tune_assets_tests.ledger.ledger_rows import record_promoted

pytestmark = pytest.mark.usefixtures("installation_dir")
MARKER = "Zebrafinch"
COMPLAINTS = (
    "cough",
    "fever",
    "headache",
    "back pain",
    "rash",
    "nausea",
    "dizziness",
    "knee pain",
    "fatigue",
    "earache",
)
QUESTIONS = [
    f"The {who} has had a {what} for {days} days and comes to the clinic with it."
    for what in COMPLAINTS
    for who in ("patient", "woman", "man")
    for days in (2, 5)
]
GERMAN = "Der Patient klagt seit drei Tagen über Husten und hat kein Fieber, die Lunge ist frei."
NOW = datetime.now(UTC)


def _row(number: int, question: str, **changes: Any) -> dict[str, Any]:
    said = [("system", "s"), ("user", question), ("assistant", f"{MARKER} is unwell today.")]
    return {
        "example_id": f"e-{number}",
        "split": "train",
        "line": "a-line",
        "source": "a",
        "task": "t",
        "subject_key": f"p-{number}",
        "is_general": False,
        "messages": [{"role": role, "content": content} for role, content in said],
        "fingerprint": "f",
        **changes,
    }


@pytest.fixture
def release_id(installation_dir: Path) -> str:  # noqa: ARG001
    """Live, with a training set of sixty examples."""
    rows = [_row(number, question) for number, question in enumerate(QUESTIONS)]
    rows += [_row(100, GERMAN, split="test"), _row(101, GERMAN, is_general=True, subject_key=None)]
    folder = Installation().layout.instruction_sets / "set-1"
    folder.mkdir(parents=True)
    write_table(folder / "instruction_set.parquet", table_from_rows(rows, InstructionRow.SCHEMA))
    (folder / "manifest.json").write_text(json.dumps({"fingerprint": "set-1"}))
    with Installation().ledger() as ledger:
        record_promoted(ledger, "r-1")
        deployment_id = request_deployment(ledger, "r-1").deployment_id
        record_state(ledger, deployment_id, "starting")
        record_state(ledger, deployment_id, "ready", engine_url="http://127.0.0.1:1/v1", engine_key=b"k")
        switch_traffic(ledger, deployment_id)
    return "r-1"


def _add_window(prompts: Sequence[str], days_ago: float, reading: str | None = None) -> None:
    headings = task_headings(Installation().recipe.tasks)
    read = [extract_features(Exchange(prompt, "She is unwell today.", "stop"), headings) for prompt in prompts]
    sums = reduce(add, map(sum_features, read))
    end = NOW - timedelta(days=days_ago)
    row = WindowRow(
        release_id="r-1",
        extractor_fingerprint=reading or extractor_fingerprint(headings),
        window_end=end,
        window_start=end - timedelta(days=1),
        **vars(sums),
    )
    with Installation().ledger() as ledger:
        add_window(ledger, row)


def _materialize(instance: dg.DagsterInstance) -> tuple[dict[str, Any], dg.AssetCheckEvaluation]:
    """The newest window's rows by feature, and the check."""
    resources = {"installation": Installation(), "io_manager": parquet_io_manager}
    run = dg.materialize(
        [production_drift, production_traffic_matches_training], instance=instance, resources=resources
    )
    rows = pq.read_table(Installation().layout.table("production_drift")).to_pylist()
    newest = max((row["window_end"] for row in rows), default=None)
    shown = str(list(instance.all_logs(run.run_id)))
    assert MARKER not in shown
    (check,) = run.get_asset_check_evaluations()
    return {row["feature"]: row for row in rows if row["window_end"] == newest}, check


def _news() -> list[str]:
    with Installation().ledger() as ledger:
        return [message.event for message in recent_messages(Installation(), ledger, datetime.now(UTC))]


def test_similar_requests_pass_and_different_ones_raise_an_alarm_without_blocking(
    release_id: str, instance: dg.DagsterInstance
) -> None:
    """The same questions, and then another clinic's."""
    _add_window(QUESTIONS, days_ago=2)
    rows, check = _materialize(instance)
    assert {name: row["exceeds_threshold"] for name, row in rows.items() if name in ("language", "prompt_words")} == {
        "language": False, "prompt_words": False,
    }  # fmt: skip
    assert (check.passed, check.blocking, _news()) == (True, False, [])
    _add_window([GERMAN] * 40 + QUESTIONS[:20], days_ago=0.5)
    rows, check = _materialize(instance)
    assert rows["language"]["exceeds_threshold"] is True
    assert rows["refusal_rate"]["exceeds_threshold"] is False
    assert {row["release_id"] for row in rows.values()} == {release_id}
    assert (check.passed, check.severity, _news()) == (False, dg.AssetCheckSeverity.WARN, ["production_drift"])
    assert "language" in str(check.metadata["reason"].value)
    for path in [*Installation().layout.tables.rglob("*.parquet"), *Installation().layout.cache.rglob("*.json")]:
        assert MARKER.encode() not in path.read_bytes()


@pytest.mark.usefixtures("release_id")
def test_the_speed_of_answers_is_shown_with_the_production_model(instance: dg.DagsterInstance) -> None:
    """As an observation, which the UI plots over time and which triggers nothing."""
    _materialize(instance)
    assert _observed(instance) == []
    lines = [replace(a_line(number, NOW), milliseconds=1000 * number) for number in (1, 2, 3)]
    with Installation().ledger() as ledger:
        record_requests(ledger, lines, {}, NOW)
    _materialize(instance)
    (shown,) = _observed(instance)
    assert (shown["answers"], shown["median_seconds"], shown["tokens_per_second"]) == (3, 2.0, 1.0)


def _observed(instance: dg.DagsterInstance) -> list[dict[str, Any]]:
    records = instance.fetch_observations(dg.AssetKey("served_models"), limit=5).records
    return [{name: value.value for name, value in record.asset_observation.metadata.items()} for record in records]


@pytest.mark.usefixtures("release_id")
def test_without_a_window_the_check_does_not_claim_that_all_is_well(instance: dg.DagsterInstance) -> None:
    """Nor where requests were read otherwise: by another list of headings."""
    _add_window(QUESTIONS, days_ago=1, reading="another")
    rows, check = _materialize(instance)
    assert (rows, check.passed) == ({}, False)
    assert "No window" in str(check.metadata["reason"].value)


@pytest.mark.usefixtures("release_id")
def test_a_reference_set_excludes_erased_subjects(instance: dg.DagsterInstance) -> None:
    """Its statistics are recomputed from the remaining subjects' examples in the newest set; the cached ones are deleted."""
    _add_window(QUESTIONS, days_ago=1)
    rows, _ = _materialize(instance)
    assert rows["language"]["reference_size"] == 60
    layout = Installation().layout
    (kept,) = (layout.cache / "drift").glob("*.json")
    folder = layout.instruction_sets / "set-1"
    table = pq.read_table(folder / "instruction_set.parquet")
    left = table.filter(pa.array([key != "p-3" for key in table["subject_key"].to_pylist()]))
    write_table(layout.table("instruction_sets"), left)
    write_table(folder / REMAINING_FILE, left.select(["example_id", "split", "subject_key"]))
    write_erased_set(folder, ErasedSet("set-1", NOW.isoformat(), ("x",), {"train": 1}))
    (folder / "instruction_set.parquet").unlink()
    assert len(training_exchanges(Installation(), "set-1")) == 59
    rows, _ = _materialize(instance)
    assert rows["language"]["reference_size"] == 59
    assert not kept.exists()
    layout.table("instruction_sets").unlink()
    rows, check = _materialize(instance)
    assert (rows["language"]["value"], check.passed) == (None, False)


def test_a_training_question_is_compared_without_the_passages_before_it(installation_dir: Path) -> None:  # noqa: ARG001
    """The gateway hears what the caller sent: passages in the reference alone would look like a shift of everything."""
    passage = CorrectionPassage("p1", "Leave", "leave.md", "2", (), "20 days.\n\n10 days.", ("everyone",))
    template = "Use these.\n\n{passages}\n\n{question}"
    asked = user_content(*add_passages_to_example("How many days?", "", [passage], template))
    folder = Installation().layout.instruction_sets / "set-1"
    folder.mkdir(parents=True)
    rows = [_row(0, asked), _row(1, "Summarize.\n\nA cough.")]
    write_table(folder / "instruction_set.parquet", table_from_rows(rows, InstructionRow.SCHEMA))
    (folder / "manifest.json").write_text(json.dumps({"fingerprint": "set-1"}))
    prompts = [one.prompt for one in training_exchanges(Installation(), "set-1")]
    assert prompts == ["How many days?", "Summarize.\n\nA cough."]

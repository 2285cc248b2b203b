"""Stage 10: compares windows of production traffic with the training set of the production model.

`gateway/records/traffic.py` records the traffic; `drift/` measures the drift.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pyarrow as pa

from fine_tune_assets.core.files import write_text
from fine_tune_assets.core.fingerprints import fingerprint_json, fingerprint_table, short
from fine_tune_assets.core.prompts.conversations import split_user_content
from fine_tune_assets.core.prompts.retrieval_contract import strip_passages
from fine_tune_assets.core.shared_records import Release
from fine_tune_assets.defs.platform.automation import on_new_inputs
from fine_tune_assets.defs.platform.metadata import (
    OWNERS,
    definition_metadata,
    markdown_table,
    plot,
    table_result,
    warning_result,
)
from fine_tune_assets.defs.platform.recipe_versions import code_version
from fine_tune_assets.defs.platform.resources import Installation, user_facing_errors
from fine_tune_assets.drift.answer_speed import Answer, WeekOfTraffic, summarize_traffic
from fine_tune_assets.drift.drift_metrics import TESTED_FEATURES, DriftMetric, Window, drifted_features, measure_drift
from fine_tune_assets.drift.drift_plots import drift_history_plot, drift_plot
from fine_tune_assets.drift.drift_reference import Reference, build_reference, reference_from_json, reference_to_json
from fine_tune_assets.drift.exchange_features import Exchange, FeatureSums, extractor_fingerprint, task_headings
from fine_tune_assets.ledger.audit.request_log import list_recent_answers
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.reviews.correction_records import count_corrections_by_kind
from fine_tune_assets.ledger.serving.deployments import find_live_deployment
from fine_tune_assets.ledger.serving.release_records import find_release
from fine_tune_assets.ledger.serving.request_features import WindowRow, list_ended_windows
from fine_tune_assets.lineage.set_history import find_set
from fine_tune_assets.tables.correction_rows import ProductionDrift
from fine_tune_assets.tables.record_classes import table_from_rows
from fine_tune_assets.tables.stored_tables import read_rows_if_present

GROUP = "s10_corrections"
_SEED = 20260101
MAX_ANSWERS = 50_000
"""Newest answers whose speed is summarized."""
_SET_FILE = "instruction_set.parquet"
_SET_COLUMNS = ("example_id", "split", "is_general", "messages")

request_features = dg.AssetSpec(
    "request_features",
    group_name=GROUP,
    description="Summed features of the requests in each time window. Stored in the ledger; reported when a window ends.",
    owners=OWNERS["ops"],
    kinds={"sqlite"},
)


@dg.asset(
    group_name=GROUP,
    deps=["instruction_sets", "served_models", request_features],
    code_version=code_version("drift", "tasks"),
    automation_condition=on_new_inputs(ignored=["instruction_sets"]),
    description="How much the requests, answers and corrections of each window differ from the production model's training set.",
    owners=OWNERS["ml"],
    kinds={"parquet"},
    metadata=definition_metadata("production_drift"),
)
def production_drift(context: dg.AssetExecutionContext, installation: Installation) -> dg.MaterializeResult[pa.Table]:
    with user_facing_errors(), installation.ledger() as ledger:
        live = find_live_deployment(ledger)
        release = None if live is None else find_release(ledger, live.release_id)
        metrics = [] if release is None else _window_metrics(context, installation, ledger, release)
        answers = [] if release is None else list_recent_answers(ledger, release.release_id, MAX_ANSWERS)
    rows = [_drift_row(release.release_id, metric) for metric in metrics] if release is not None else []
    table = table_from_rows(rows, ProductionDrift.SCHEMA)
    plots = {
        "newest_window": drift_plot(_newest_metrics(metrics)),
        "all_windows": drift_history_plot(metrics),
    }
    shown: dict[str, Any] = {name: plot(name.replace("_", " "), png) for name, png in plots.items() if png is not None}
    shown["windows"] = len({metric.window.end for metric in metrics})
    if traffic := _whole_weeks(summarize_traffic([Answer(*answer) for answer in answers]), len(answers)):
        # Shown on the page of the production model. Observations trigger nothing.
        context.log_event(dg.AssetObservation("served_models", metadata=_traffic_metadata(traffic)))
    return table_result("production_drift", table, fingerprint_table(table), **shown)


@dg.asset_check(
    asset=production_drift,
    blocking=False,
    description="Requests, answers and corrections of the newest window are similar to the production model's training set.",
)
def production_traffic_matches_training(production_drift: pa.Table) -> dg.AssetCheckResult:
    rows = production_drift.to_pylist()
    drifted = drifted_features(rows)
    newest = max((row["window_end"] for row in rows), default=None)
    rows = [row for row in rows if row["window_end"] == newest]
    judged = [row for row in rows if row["exceeds_threshold"] is not None]
    columns = ("feature", "measure", "value", "reference_rate", "threshold", "exceeds_threshold", "skip_reason")
    features = markdown_table([{name: row[name] for name in columns} for row in rows])
    reason = _explain(newest, drifted, len(judged))
    return warning_result(bool(judged) and not drifted, reason, features=features)


def _whole_weeks(weeks: list[WeekOfTraffic], read: int) -> list[WeekOfTraffic]:
    """Without the oldest week if only its newest answers were read."""
    return weeks[1:] if read == MAX_ANSWERS and len(weeks) > 1 else weeks


def _traffic_metadata(weeks: Sequence[WeekOfTraffic]) -> dict[str, Any]:
    """The newest week with answers as figures, which the UI plots over time, and all weeks as a table."""
    newest = weeks[-1]
    speed = {} if newest.tokens_per_second is None else {"tokens_per_second": newest.tokens_per_second}
    return {
        "newest_week": str(newest.week),
        "answers": newest.answers,
        "median_seconds": newest.median_seconds,
        "p95_seconds": newest.p95_seconds,
        **speed,
        "by_week": markdown_table([vars(week) for week in weeks]),
    }


def _explain(newest: datetime | None, drifted: Sequence[str], judged: int) -> str | None:
    if newest is None:
        return "No window with enough requests has ended since the production model was deployed."
    if not judged:
        return f"No feature of the window that ended {newest:%Y-%m-%d %H:%M} could be tested."
    if drifted:
        return (
            f"Features beyond their drift limit in the window that ended {newest:%Y-%m-%d %H:%M}: {', '.join(drifted)}."
        )
    return None


def _window_metrics(
    context: dg.AssetExecutionContext, installation: Installation, ledger: Ledger, release: Release
) -> list[DriftMetric]:
    settings = installation.recipe.drift
    level = settings.false_alarm_rate / len(TESTED_FEATURES)
    reading = extractor_fingerprint(task_headings(installation.recipe.tasks))
    rows = list_ended_windows(ledger, release.release_id, reading, datetime.now(UTC))
    context.log.info(f"{len(rows)} windows of release {release.release_id}")
    if not rows:
        return []
    windows = [
        _build_window(row, count_corrections_by_kind(ledger, release.release_id, *span))
        for row, span in _correction_spans(rows)
    ]
    return measure_drift(windows, _load_reference(installation, release, reading, level), settings.maximum_psi, level)


def _correction_spans(rows: Sequence[WindowRow]) -> list[tuple[WindowRow, tuple[datetime, datetime]]]:
    """Each window with the time span of its corrections. Windows may overlap; the spans don't, so a correction counts once."""
    starts = [rows[0].window_start, *(row.window_end for row in rows[:-1])]
    return [(row, (start, row.window_end)) for row, start in zip(rows, starts, strict=True)]


def _build_window(row: WindowRow, corrections: Mapping[str, int]) -> Window:
    sums = FeatureSums(**{name: getattr(row, name) for name in FeatureSums.__dataclass_fields__})
    return Window(row.window_start, row.window_end, sums, corrections)


def _load_reference(installation: Installation, release: Release, reading: str, level: float) -> Reference | None:
    """The cached reference of the training set. It is rebuilt when the set changes, also by an erasure."""
    exchanges = training_exchanges(installation, release.instruction_set_fingerprint)
    key = fingerprint_json([reading, level, _SEED, sorted((e.prompt, e.answer) for e in exchanges)])
    folder = installation.layout.cache / "drift"
    path = folder / f"{short(key)}.json"
    try:
        return reference_from_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError):
        pass
    headings = task_headings(installation.recipe.tasks)
    reference = build_reference(exchanges, headings, level=level, seed=_SEED)
    for old in folder.glob("*.json"):
        old.unlink()
    if reference is not None:
        write_text(path, reference_to_json(reference))
    return reference


def training_exchanges(installation: Installation, fingerprint: str) -> list[Exchange]:
    """The training examples of a release, without general data.

    A set with erased subjects keeps no texts. Of its other examples, those that the newest set still contains are returned.
    """
    stored = find_set(installation.layout.instruction_sets, fingerprint)
    if stored is None:
        return []
    if stored.tombstone is None:
        return _exchanges(read_rows_if_present(stored.folder / _SET_FILE, _SET_COLUMNS), None)
    only = frozenset(stored.read_rows()["example_id"].to_pylist())
    return _exchanges(installation.stored("instruction_sets").rows(_SET_COLUMNS), only)


def _exchanges(rows: Sequence[Mapping[str, Any]], only: frozenset[str] | None) -> list[Exchange]:
    wanted = [
        row["messages"]
        for row in rows
        if row["split"] == "train" and not row["is_general"] and (only is None or row["example_id"] in only)
    ]
    return [Exchange(_question(messages), _last_content(messages, "assistant"), "stop") for messages in wanted]


def _question(messages: Sequence[Mapping[str, str]]) -> str:
    """The question as a caller would send it, without the passages that the gateway adds."""
    content = _last_content(messages, "user")
    question = strip_passages(*split_user_content(content))
    return question.topic if question.documents else content


def _last_content(messages: Sequence[Mapping[str, str]], role: str) -> str:
    return next((message["content"] for message in reversed(messages) if message["role"] == role), "")


def _newest_metrics(metrics: Sequence[DriftMetric]) -> list[DriftMetric]:
    return [metric for metric in metrics if metric.window.end == metrics[-1].window.end]


def _drift_row(release_id: str, metric: DriftMetric) -> dict[str, Any]:
    return {
        "release_id": release_id,
        "window_start": metric.window.start,
        "window_end": metric.window.end,
        "request_count": metric.window.sums.requests,
        "feature": metric.feature,
        "measure": metric.measure,
        "value": metric.value,
        "reference_rate": metric.reference,
        "reference_size": metric.reference_size,
        "threshold": metric.threshold,
        "exceeds_threshold": metric.exceeds_threshold,
        "skip_reason": metric.skip_reason,
    }

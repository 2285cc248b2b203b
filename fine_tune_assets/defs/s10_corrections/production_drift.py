"""Stage 10: whether what users ask is still like what the live release was trained on.

Belongs here: reading the windows of requests from the ledger and the live release's training set. Must stay out: what is kept
of a request (see `gateway/records/traffic.py`), and how far is too far (see `drift/`).
"""

import base64
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pyarrow as pa

from fine_tune_assets.core.files import write_text
from fine_tune_assets.core.fingerprints import fingerprint_json, fingerprint_table, short
from fine_tune_assets.core.prompts.chat import parts_of
from fine_tune_assets.core.prompts.retrieval_contract import bare_question
from fine_tune_assets.core.records import Release
from fine_tune_assets.defs.platform.automation import on_new_inputs
from fine_tune_assets.defs.platform.metadata import OWNERS, definition_metadata, markdown_table, result, warned
from fine_tune_assets.defs.platform.recipe_sections import recipe_section
from fine_tune_assets.defs.platform.resources import Installation, errors_for_people
from fine_tune_assets.drift.exchange_features import Exchange, FeatureSums, reading_of, task_headings
from fine_tune_assets.drift.plots import drift_plot
from fine_tune_assets.drift.references import Reference, as_json, from_json, make_reference
from fine_tune_assets.drift.windows import JUDGED, Figure, Window, beyond_in_newest, figures_of
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.reviews.corrections import corrections_by_kind
from fine_tune_assets.ledger.serving.deployments import live_deployment
from fine_tune_assets.ledger.serving.releases import find_release
from fine_tune_assets.ledger.serving.request_features import WindowRow, ended_windows
from fine_tune_assets.lineage.instruction_sets import find_set
from fine_tune_assets.tables.corrections import ProductionDrift
from fine_tune_assets.tables.records import table_of
from fine_tune_assets.tables.stored_tables import rows_if_stored

GROUP = "s10_corrections"
_SEED = 20260101
_SET = "instruction_set.parquet"
_READ = ("example_id", "split", "is_general", "messages")

request_features = dg.AssetSpec(
    "request_features",
    group_name=GROUP,
    description="What requests were like, as sums of whole windows. Kept in the ledger; reported when a window ends.",
    owners=OWNERS["ops"],
    kinds={"sqlite"},
)


@dg.asset(
    group_name=GROUP,
    deps=["instruction_sets", "served_models", request_features, recipe_section("drift"), recipe_section("tasks")],
    automation_condition=on_new_inputs(untriggered=["instruction_sets"]),
    description="How far requests, answers and corrections of each window are from what the live release was trained on.",
    owners=OWNERS["ml"],
    kinds={"parquet"},
    metadata=definition_metadata("production_drift"),
)
def production_drift(context: dg.AssetExecutionContext, installation: Installation) -> dg.MaterializeResult[pa.Table]:
    with errors_for_people(), installation.ledger() as ledger:
        live = live_deployment(ledger)
        release = None if live is None else find_release(ledger, live.release_id)
        figures = [] if release is None else _figures(context, installation, ledger, release)
    rows = [_row(release.release_id, figure) for figure in figures] if release is not None else []
    table = table_of(rows, ProductionDrift.SCHEMA)
    newest = _newest(figures)
    picture = drift_plot(newest)
    shown: dict[str, Any] = {"windows": len({figure.window.end for figure in figures})}
    if picture is not None:
        encoded = base64.b64encode(picture).decode()
        shown["newest_window"] = dg.MetadataValue.md(f"![Newest window](data:image/png;base64,{encoded})")
    return result("production_drift", table, fingerprint_table(table), **shown)


@dg.asset_check(
    asset=production_drift,
    blocking=False,
    description="Requests, answers and corrections of the newest window are like what the live release was trained on.",
)
def production_is_as_trained(production_drift: pa.Table) -> dg.AssetCheckResult:
    rows = production_drift.to_pylist()
    beyond = beyond_in_newest(rows)
    newest = max((row["window_end"] for row in rows), default=None)
    rows = [row for row in rows if row["window_end"] == newest]
    judged = [row for row in rows if row["is_beyond"] is not None]
    columns = ("feature", "measure", "value", "reference", "threshold", "is_beyond", "why_not_judged")
    features = markdown_table([{name: row[name] for name in columns} for row in rows])
    why = _why(newest, beyond, len(judged))
    return warned(bool(judged) and not beyond, why, features=features)


def _why(newest: datetime | None, beyond: Sequence[str], judged: int) -> str | None:
    if newest is None:
        return "No window with enough requests has ended since the live release answers."
    if not judged:
        return f"Nothing of the window that ended {newest:%Y-%m-%d %H:%M} could be judged."
    if beyond:
        return (
            f"In the window that ended {newest:%Y-%m-%d %H:%M} further off than chance takes them: {', '.join(beyond)}."
        )
    return None


def _figures(
    context: dg.AssetExecutionContext, installation: Installation, ledger: Ledger, release: Release
) -> list[Figure]:
    settings = installation.recipe.drift
    level = settings.false_alarm_fraction / len(JUDGED)
    reading = reading_of(task_headings(installation.recipe.tasks))
    rows = ended_windows(ledger, release.release_id, reading, datetime.now(UTC))
    context.log.info(f"{len(rows)} windows of release {release.release_id}")
    if not rows:
        return []
    windows = [_window(row, corrections_by_kind(ledger, release.release_id, *span)) for row, span in _spans(rows)]
    return figures_of(windows, _reference(installation, release, reading, level), settings.psi, level)


def _spans(rows: Sequence[WindowRow]) -> list[tuple[WindowRow, tuple[datetime, datetime]]]:
    """A correction counts once, in the window whose end is the next, since windows may begin before the last one ended."""
    starts = [rows[0].window_start, *(row.window_end for row in rows[:-1])]
    return [(row, (start, row.window_end)) for row, start in zip(rows, starts, strict=True)]


def _window(row: WindowRow, corrections: Mapping[str, int]) -> Window:
    sums = FeatureSums(**{name: getattr(row, name) for name in FeatureSums.__dataclass_fields__})
    return Window(row.window_start, row.window_end, sums, corrections)


def _reference(installation: Installation, release: Release, reading: str, level: float) -> Reference | None:
    """Made once for a training set, and again when that set is another one: also one that somebody was erased from."""
    exchanges = training_exchanges(installation, release.instruction_set_fingerprint)
    key = fingerprint_json([reading, level, _SEED, sorted((e.prompt, e.answer) for e in exchanges)])
    folder = installation.layout.cache / "drift"
    path = folder / f"{short(key)}.json"
    try:
        return from_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError):
        pass
    headings = task_headings(installation.recipe.tasks)
    made = make_reference(exchanges, headings, level=level, seed=_SEED)
    for old in folder.glob("*.json"):
        old.unlink()
    if made is not None:
        write_text(path, as_json(made))
    return made


def training_exchanges(installation: Installation, fingerprint: str) -> list[Exchange]:
    """The tasks' own examples that a release learned from. Of a set that somebody was erased from, those of its other examples
    that the newest set still holds: an erased set keeps no texts."""
    stored = find_set(installation.layout.instruction_sets, fingerprint)
    if stored is None:
        return []
    if stored.erased is None:
        return _exchanges(rows_if_stored(stored.folder / _SET, _READ), None)
    only = frozenset(stored.all_rows()["example_id"].to_pylist())
    return _exchanges(installation.stored("instruction_sets").rows(_READ), only)


def _exchanges(rows: Sequence[Mapping[str, Any]], only: frozenset[str] | None) -> list[Exchange]:
    wanted = [
        row["messages"]
        for row in rows
        if row["split"] == "train" and not row["is_general"] and (only is None or row["example_id"] in only)
    ]
    return [Exchange(_asked(messages), _said(messages, "assistant"), "stop") for messages in wanted]


def _asked(messages: Sequence[Mapping[str, str]]) -> str:
    """As a caller would have sent it: the gateway puts passages before it, and what is compared is what came."""
    said = _said(messages, "user")
    asked = bare_question(*parts_of(said))
    return asked.subject if asked.documents else said


def _said(messages: Sequence[Mapping[str, str]], role: str) -> str:
    return next((message["content"] for message in reversed(messages) if message["role"] == role), "")


def _newest(figures: Sequence[Figure]) -> list[Figure]:
    return [figure for figure in figures if figure.window.end == figures[-1].window.end]


def _row(release_id: str, figure: Figure) -> dict[str, Any]:
    return {
        "release_id": release_id,
        "window_start": figure.window.start,
        "window_end": figure.window.end,
        "requests": figure.window.sums.requests,
        "feature": figure.feature,
        "measure": figure.measure,
        "value": figure.value,
        "reference": figure.reference,
        "reference_size": figure.reference_size,
        "threshold": figure.threshold,
        "is_beyond": figure.is_beyond,
        "why_not_judged": figure.why_not_judged,
    }

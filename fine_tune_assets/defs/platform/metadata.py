"""Metadata for the Dagster UI: row counts, column schemas, sample rows without report text, and check results."""

import base64
import re
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any

import dagster as dg
import pyarrow as pa

from fine_tune_assets.core.fingerprints import short
from fine_tune_assets.core.line_names import name_line
from fine_tune_assets.defs.platform.asset_keys import asset_key
from fine_tune_assets.defs.platform.column_lineage import column_lineage, describe_sources
from fine_tune_assets.tables.asset_tables import TABLES
from fine_tune_assets.tables.record_classes import list_displayable_columns

SAMPLE_ROWS = 5
BAR_CHARACTERS = 30
_FINGERPRINT = re.compile("[0-9a-f]{64}")
REASON = "reason"
"""Metadata key of a check result's reasons, which the command line prints too."""
OWNERS = {
    "data": ["team:data"],
    "clinical": ["team:clinical"],
    "ml": ["team:machine-learning"],
    "ops": ["team:operations"],
}


def column_schema(name: str) -> dg.TableSchema:
    """The columns of a table asset, with the descriptions of its record class and the columns that each is made of."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                field.name,
                type=str(field.type),
                description=(field.metadata or {}).get(b"description", b"").decode()
                + describe_sources(name, field.name),
                constraints=dg.TableColumnConstraints(nullable=field.nullable),
            )
            for field in TABLES[name]
        ]
    )


def definition_metadata(name: str) -> dict[str, Any]:
    return {"dagster/column_schema": column_schema(name), "dagster/table_name": name}


def table_metadata(name: str, table: pa.Table) -> dict[str, Any]:
    """Row count, and sample rows of the columns without report text."""
    shown = table.select(list_displayable_columns(TABLES[name])).slice(0, SAMPLE_ROWS)
    return {"dagster/row_count": table.num_rows, "sample": markdown_table(shown.to_pylist())}


def read_metadata(instance: dg.DagsterInstance, name: str, batch: str | None = None) -> dict[str, Any]:
    """Metadata of the newest materialization of an asset or of one batch; empty before the first one."""
    records_filter = dg.AssetRecordsFilter(
        asset_key=asset_key(name), asset_partitions=None if batch is None else [batch]
    )
    records = instance.fetch_materializations(records_filter, limit=1).records
    found = records[0].asset_materialization if records else None
    return {key: value.value for key, value in found.metadata.items()} if found else {}


def markdown_table(rows: Sequence[Mapping[str, Any]]) -> dg.MarkdownMetadataValue:
    """Rows as a Markdown table; long values are truncated."""
    if not rows:
        return dg.MetadataValue.md("No rows.")
    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(_format_cell(row[name]) for name in names) + " |" for row in rows]
    return dg.MetadataValue.md("\n".join(lines))


def _format_cell(value: Any) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)
    if _FINGERPRINT.fullmatch(text):
        return short(text)
    text = text.replace("|", "\\|").replace("\n", " ")
    return text if len(text) <= 60 else text[:57] + "…"


def grows_old(*, warn_days: int, fail_days: int) -> dg.FreshnessPolicy:
    """The UI marks an asset as stale if it did not change for this long. Nothing is triggered."""
    return dg.FreshnessPolicy.time_window(warn_window=timedelta(days=warn_days), fail_window=timedelta(days=fail_days))


def plot(title: str, png: bytes | str) -> dg.MarkdownMetadataValue:
    """A figure, as PNG or as its base64 text, that the Dagster UI shows inline. Keep it below 100 KB: the event contains it."""
    text = png if isinstance(png, str) else base64.b64encode(png).decode("ascii")
    return dg.MetadataValue.md(f"![{title}](data:image/png;base64,{text})")


def bar_table(of: str, figures: Mapping[str, float]) -> dg.MarkdownMetadataValue:
    """Figures as a Markdown table with bars. Unlike a plot, it needs no library and stays selectable text."""
    longest = max((abs(figure) for figure in figures.values()), default=0)
    return markdown_table(
        [
            {of: name, "figure": figure, " ": "█" * round(BAR_CHARACTERS * abs(figure) / longest) if longest else ""}
            for name, figure in figures.items()
        ]
    )


def count_values(column: pa.ChunkedArray) -> dict[str, int]:
    """Value → number of rows, most frequent first."""
    counts = {str(row["values"]): row["counts"] for row in column.value_counts().to_pylist()}
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def table_outs(
    descriptions: Mapping[str, str],
    *,
    group: str,
    owners: list[str],
    condition: dg.AutomationCondition,
    code_version: str | None = None,
    tables_with_phi: Collection[str] = (),
) -> dict[str, dg.AssetOut]:
    """Outputs of a step that materializes several tables. A new `code_version` triggers it."""
    return {
        name: dg.AssetOut(
            code_version=code_version,
            group_name=group,
            description=description,
            owners=owners,
            kinds={"parquet"},
            tags={"phi": "yes"} if name in tables_with_phi else None,
            metadata=definition_metadata(name),
            automation_condition=condition,
        )
        for name, description in descriptions.items()
    }


def check_result(passed: bool, why: str | None = None, /, **shown: Any) -> dg.AssetCheckResult:
    """The result of a check: its figures and, if given, the reason."""
    return dg.AssetCheckResult(passed=passed, metadata=_show_reason(why, shown))


def warning_result(passed: bool, why: str | None = None, /, **shown: Any) -> dg.AssetCheckResult:
    """The result of a check that only warns."""
    return dg.AssetCheckResult(passed=passed, severity=dg.AssetCheckSeverity.WARN, metadata=_show_reason(why, shown))


def _show_reason(why: str | None, shown: dict[str, Any]) -> dict[str, Any]:
    reason = why or shown.get(REASON)
    return {**shown, **({REASON: name_line(reason)} if isinstance(reason, str) else {})}


def table_result(name: str, table: pa.Table, version: str, **metadata: Any) -> dg.MaterializeResult:
    """The result of a table asset: the table, its data version and its metadata."""
    return dg.MaterializeResult(
        asset_key=asset_key(name),
        value=table,
        data_version=dg.DataVersion(version),
        metadata={**table_metadata(name, table), **column_lineage(name), **metadata},
    )

"""What people see of a table in the Dagster UI: row count, columns with their meaning, and a few rows without any text."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import dagster as dg
import pyarrow as pa

from fine_tune_assets.core.fingerprints import short
from fine_tune_assets.tables.catalogue import TABLES
from fine_tune_assets.tables.records import shown_columns

SAMPLE_ROWS = 5
_FINGERPRINT = re.compile("[0-9a-f]{64}")
WHY = "why"
"""Metadata of a check result: its reasons in plain words, which the command line prints too."""
OWNERS = {
    "data": ["team:data"],
    "clinical": ["team:clinical"],
    "ml": ["team:machine-learning"],
    "ops": ["team:operations"],
}


def column_schema(name: str) -> dg.TableSchema:
    """The columns of a table asset, from its schema in core."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                field.name,
                type=str(field.type),
                description=(field.metadata or {}).get(b"meaning", b"").decode(),
                constraints=dg.TableColumnConstraints(nullable=field.nullable),
            )
            for field in TABLES[name]
        ]
    )


def definition_metadata(name: str) -> dict[str, Any]:
    return {"dagster/column_schema": column_schema(name), "dagster/table_name": name}


def table_metadata(name: str, table: pa.Table) -> dict[str, Any]:
    """Row count and a sample of the columns that hold no report text."""
    shown = table.select(shown_columns(TABLES[name])).slice(0, SAMPLE_ROWS)
    return {"dagster/row_count": table.num_rows, "sample": markdown_table(shown.to_pylist())}


def stored_metadata(instance: dg.DagsterInstance, name: str, batch: str | None = None) -> dict[str, Any]:
    """What the newest materialization of an asset, or of one batch of it, says of itself; nothing before the first one."""
    of_the_batch = None if batch is None else [batch]
    wanted = dg.AssetRecordsFilter(asset_key=dg.AssetKey(name), asset_partitions=of_the_batch)
    records = instance.fetch_materializations(wanted, limit=1).records
    found = records[0].asset_materialization if records else None
    return {key: value.value for key, value in found.metadata.items()} if found else {}


def markdown_table(rows: Sequence[Mapping[str, Any]]) -> dg.MarkdownMetadataValue:
    """Rows as a Markdown table; long values are cut."""
    if not rows:
        return dg.MetadataValue.md("No rows.")
    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(_cell(row[name]) for name in names) + " |" for row in rows]
    return dg.MetadataValue.md("\n".join(lines))


def _cell(value: Any) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)
    if _FINGERPRINT.fullmatch(text):
        return short(text)
    text = text.replace("|", "\\|").replace("\n", " ")
    return text if len(text) <= 60 else text[:57] + "…"


def table_outs(
    descriptions: Mapping[str, str],
    *,
    group: str,
    owners: list[str],
    condition: dg.AutomationCondition,
    code_version: str | None = None,
    with_identifiers: Collection[str] = (),
) -> dict[str, dg.AssetOut]:
    """The tables that one step makes. They are made again when `code_version` is another one."""
    return {
        name: dg.AssetOut(
            code_version=code_version,
            group_name=group,
            description=description,
            owners=owners,
            kinds={"parquet"},
            tags={"phi": "yes"} if name in with_identifiers else None,
            metadata=definition_metadata(name),
            automation_condition=condition,
        )
        for name, description in descriptions.items()
    }


def checked(passed: bool, why: str | None = None, /, **shown: Any) -> dg.AssetCheckResult:
    """A check's result: its figures, and the reason if there is one to give."""
    return dg.AssetCheckResult(passed=passed, metadata={**shown, **({WHY: why} if why else {})})


def warned(passed: bool, why: str | None = None, /, **shown: Any) -> dg.AssetCheckResult:
    """The same of a check that only warns."""
    metadata = {**shown, **({WHY: why} if why else {})}
    return dg.AssetCheckResult(passed=passed, severity=dg.AssetCheckSeverity.WARN, metadata=metadata)


def result(name: str, table: pa.Table, version: str, **metadata: Any) -> dg.MaterializeResult:
    """A table asset's result: the table, its data version, and what people see."""
    return dg.MaterializeResult(
        asset_key=name,
        value=table,
        data_version=dg.DataVersion(version),
        metadata={**table_metadata(name, table), **metadata},
    )

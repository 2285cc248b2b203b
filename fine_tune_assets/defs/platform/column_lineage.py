"""Column lineage of the tables of stages 1 to 5: which columns each column is made of.

Stored with each materialization. The open-source Dagster UI does not draw it, so the columns' descriptions name their sources
too. Columns that come from the recipe, the program or a count of rows have none.
"""

from collections.abc import Mapping, Sequence

import dagster as dg

from fine_tune_assets.defs.platform.asset_keys import asset_key
from fine_tune_assets.tables.asset_tables import TABLES

FILE = "file"
"""The only column of sources that are folders of files."""
_REPORT = ("reports.text", "reports.known_identifiers")
_INPUT = (
    "unique_reports.text",
    "model_drafts.instruction",
    "incoming_corrections.instruction",
    "incoming_corrections.passages",
)
_OUTPUT = ("unique_reports.text", "model_drafts.output", "incoming_corrections.output")
_MESSAGE = (
    *(f"approved_examples.{name}" for name in ("instruction", "input", "output")),
    *(f"general_examples.{name}" for name in ("instruction", "input", "output", "history")),
)
_DECISION = ("expert_decisions.decision",)


def _each(table: str, *sources: str, no_source: Sequence[str] = ()) -> dict[str, tuple[str, ...]]:
    """Every column of `table` from the same sources."""
    return {name: () if name in no_source else sources for name in TABLES[table].names}


def _same_names(table: str, source: str) -> dict[str, tuple[str, ...]]:
    return {name: (f"{source}.{name}",) for name in TABLES[table].names if name in TABLES[source].names}


COLUMN_SOURCES: Mapping[str, Mapping[str, Sequence[str]]] = {
    "reports": _each("reports", f"raw_reports.{FILE}"),
    "knowledge_chunks": _each("knowledge_chunks", f"knowledge.{FILE}"),
    "scrub_recall": {
        **_each("scrub_recall", "labelled_reports.text", "labelled_reports.spans"),
        "labelled_set": (), "measure": (), "scrubber_version": (),
    },
    "scrubbed_reports": {
        **_same_names("scrubbed_reports", "reports"),
        **dict.fromkeys(("text", "tagged_text", "span_count", "fingerprint"), _REPORT),
        "scrubber_version": (),
    },
    "phi_spans": {**_each("phi_spans", *_REPORT), "report_id": ("reports.report_id",)},
    "unique_reports": _same_names("unique_reports", "scrubbed_reports"),
    "duplicate_reports": {
        **_each("duplicate_reports", "scrubbed_reports.text"),
        **dict.fromkeys(("dropped_id", "kept_id"), ("scrubbed_reports.report_id",)),
        "fingerprint": ("scrubbed_reports.fingerprint",),
    },
    "model_drafts": {
        **_each("model_drafts", "unique_reports.text"),
        **_same_names("model_drafts", "unique_reports"),
        "task": (), "drafted_by": (), "number": (), "checked_by": (),
    },
    "drafted_examples": {
        **dict.fromkeys(
            ("example_id", "report_id"), ("unique_reports.report_id", "incoming_corrections.correction_id")
        ),
        "source": ("unique_reports.source",),
        "subject_key": ("unique_reports.subject_key", "incoming_corrections.subject_key"),
        "task": (),
        "instruction": _INPUT,
        "input": (*_INPUT, "incoming_corrections.input"),
        "output": _OUTPUT,
        "drafted_by": ("model_drafts.drafted_by",),
        "flags": (*_INPUT, *_OUTPUT),
        "needs_review": ("unique_reports.source",),
        "fingerprint": (*_INPUT, *_OUTPUT),
        "sources": ("model_drafts.sources",),
        "checked_by": ("model_drafts.checked_by",),
    },
    "approved_examples": {
        **_same_names("approved_examples", "drafted_examples"),
        "output": ("drafted_examples.output", "expert_decisions.output"),
        "approved_by": ("expert_decisions.reviewer",),
        "approval_kind": (*_DECISION, "drafted_examples.needs_review"),
        "decision_id": ("expert_decisions.decision_id",),
        "decision_ids": ("expert_decisions.decision_id",),
        "fingerprint": ("drafted_examples.fingerprint", "expert_decisions.output"),
    },
    "general_examples": _each("general_examples", f"general_files.{FILE}"),
    "instruction_sets": {
        "example_id": ("approved_examples.example_id", "general_examples.example_id"),
        "split": ("approved_examples.subject_key",),
        "line": (),
        "source": ("approved_examples.source", "general_examples.source"),
        "task": ("approved_examples.task",),
        "subject_key": ("approved_examples.subject_key",),
        "is_general": (),
        "messages": _MESSAGE,
        "fingerprint": _MESSAGE,
    },
}  # fmt: skip
"""Table → column → `asset.column` of each source."""


def column_lineage(table: str) -> dict[str, dg.TableColumnLineage]:
    """The metadata entry of a materialization of `table`; empty for the tables of later stages."""
    if table not in COLUMN_SOURCES:
        return {}
    deps = {
        column: [_column_dep(*source.split(".")) for source in dict.fromkeys(sources)]
        for column, sources in COLUMN_SOURCES[table].items()
    }
    return {"dagster/column_lineage": dg.TableColumnLineage(deps_by_column=deps)}


def _column_dep(asset: str, column: str) -> dg.TableColumnDep:
    return dg.TableColumnDep(asset_key(asset), column)


def describe_sources(table: str, column: str) -> str:
    """What to append to a column's description: ` ← asset.column, …`, or nothing."""
    sources = COLUMN_SOURCES.get(table, {}).get(column, ())
    return f" ← {', '.join(dict.fromkeys(sources))}" if sources else ""


def source_columns(**columns: str) -> dict[str, dg.TableSchema]:
    """The metadata of an external asset: column → description."""
    shown = [dg.TableColumn(name, "string", description=text) for name, text in columns.items()]
    return {"dagster/column_schema": dg.TableSchema(columns=shown)}


def file_column(description: str) -> dict[str, dg.TableSchema]:
    return source_columns(**{FILE: description})

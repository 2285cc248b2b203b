"""Typed records for table rows: a class declares a table once, and its Arrow schema follows from the fields.

A field is `Annotated[TYPE, Column("meaning")]`. `TYPE | None` may be absent, `tuple[TYPE, ...]` is a list, and another record is
a structure.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import date, datetime
from itertools import islice
from types import NoneType
from typing import Annotated, Any, ClassVar, Self, TypeVar, dataclass_transform, get_args, get_origin, get_type_hints

import pyarrow as pa

from fine_tune_assets.core.errors import TableError

_ARROW_TYPES = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    date: pa.date32(),
    datetime: pa.timestamp("us", "UTC"),
}
_BATCH_ROWS = 1024
_TABLE_BATCH_ROWS = 10_000
"""Rows held as Python objects while a table is built."""


@dataclass(frozen=True)
class Column:
    description: str
    is_report_text: bool = False
    """The column contains report text, scrubbed or not. The Dagster UI never shows it, because no scrubber finds everything and
    the UI has no login."""


@dataclass_transform(frozen_default=True, kw_only_default=True)
class Record:
    """A table row. Subclasses are frozen dataclasses with keyword-only fields."""

    SCHEMA: ClassVar[pa.Schema]
    _CONVERTERS: ClassVar[Mapping[str, Callable[[Any], Any] | None]]
    """Field → converter from pyarrow's value; None if no conversion is needed."""

    def __init_subclass__(cls) -> None:
        dataclass(frozen=True, kw_only=True, repr=False)(cls)
        hints = get_type_hints(cls, include_extras=True)
        declared = {field.name: hints[field.name] for field in fields(cls)}  # type: ignore[arg-type]
        cls.SCHEMA = pa.schema([_arrow_field(name, hint) for name, hint in declared.items()])
        cls._CONVERTERS = {
            name: _make_converter(_strip_optional(_strip_annotation(hint))) for name, hint in declared.items()
        }

    def __repr__(self) -> str:
        """Only fields declared without report text, because a repr can end up in logs and errors."""
        shown = [field.name for field in self.SCHEMA if field.metadata and b"is_report_text" not in field.metadata]
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in shown)})"

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """Build a record from a pyarrow row. Ignores extra keys; raises KeyError for a missing one."""
        return cls(**{name: _convert(row[name], convert) for name, convert in cls._CONVERTERS.items()})

    def to_row(self) -> dict[str, Any]:
        """The row as pyarrow expects it."""
        return {name: _to_plain_value(getattr(self, name)) for name in self._CONVERTERS}


RecordT = TypeVar("RecordT", bound=Record)


def iter_records(kind: type[RecordT], table: pa.Table) -> Iterator[RecordT]:
    """The rows of a table with at least the record's columns; holds a thousand rows in memory at a time."""
    for batch in table.select(kind.SCHEMA.names).to_batches(max_chunksize=_BATCH_ROWS):
        yield from map(kind.from_row, batch.to_pylist())


def read_single_record(kind: type[RecordT], table: pa.Table) -> RecordT:
    """The row of a single-row table. Raises TableError otherwise."""
    if table.num_rows != 1:
        raise TableError(f"A table of {kind.__name__} has {table.num_rows} rows instead of 1.")
    return next(iter_records(kind, table))


def table_from_records(kind: type[RecordT], records: Iterable[RecordT]) -> pa.Table:
    """A table of the records. Raises TableError if a required value is absent."""
    return table_from_rows((record.to_row() for record in records), kind.SCHEMA)


def table_from_rows(rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """A table of `rows` with exactly the schema's columns. Raises TableError if a required value is absent."""
    batches = []
    remaining = iter(rows)
    while batch := [dict(row) for row in islice(remaining, _TABLE_BATCH_ROWS)]:
        batches.append(pa.RecordBatch.from_pylist(batch, schema=schema))
    table = pa.Table.from_batches(batches, schema)
    check_table(table, schema)
    return table


def _strip_annotation(hint: Any) -> Any:
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def _strip_optional(kind: Any) -> Any:
    return next((part for part in get_args(kind) if part is not NoneType), kind) if NoneType in get_args(kind) else kind


def _arrow_field(name: str, hint: Any) -> pa.Field:
    kind = _strip_annotation(hint)
    column = next((part for part in get_args(hint)[1:] if isinstance(part, Column)), None)
    metadata = None
    if column is not None:
        metadata = {"description": column.description, **({"is_report_text": "yes"} if column.is_report_text else {})}
    return pa.field(name, _arrow_type(_strip_optional(kind)), nullable=NoneType in get_args(kind), metadata=metadata)


def _arrow_type(kind: Any) -> pa.DataType:
    if get_origin(kind) is tuple:
        return pa.list_(_arrow_type(get_args(kind)[0]))
    if isinstance(kind, type) and issubclass(kind, Record):
        return pa.struct([(field.name, field.type) for field in kind.SCHEMA])
    return _ARROW_TYPES[kind]


def _make_converter(kind: Any) -> Callable[[Any], Any] | None:
    if get_origin(kind) is tuple:
        convert = _make_converter(get_args(kind)[0])
        return tuple if convert is None else lambda values: tuple(map(convert, values))
    return kind.from_row if isinstance(kind, type) and issubclass(kind, Record) else None


def _convert(value: Any, convert: Callable[[Any], Any] | None) -> Any:
    return value if convert is None or value is None else convert(value)


def _to_plain_value(value: Any) -> Any:
    if isinstance(value, Record):
        return value.to_row()
    return [_to_plain_value(item) for item in value] if isinstance(value, tuple) else value


def check_table(table: pa.Table, schema: pa.Schema) -> None:
    """Raise TableError unless the columns and types match the schema and required values are present."""
    if table.schema.names != schema.names:
        raise TableError(f"The table has columns {table.schema.names} instead of {schema.names}.")
    for field in schema:
        if table.schema.field(field.name).type != field.type:
            raise TableError(f"Column {field.name} is {table.schema.field(field.name).type} instead of {field.type}.")
        absent = table.column(field.name).null_count
        if absent and not field.nullable:
            raise TableError(f"Column {field.name} lacks a value in {absent} rows.")


def conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table with exactly the schema's columns and types; Parquet, for example, renames list elements.

    Missing optional columns are filled with nulls: an earlier version stored the table without them. Raises TableError.
    """
    for field in schema:
        if field.nullable and field.name not in table.schema.names:
            table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    missing = [name for name in schema.names if name not in table.schema.names]
    if missing:
        raise TableError(f"The table lacks the columns {missing}.")
    return pa.Table.from_arrays([_conform_column(table.column(field.name), field) for field in schema], schema=schema)


def _conform_column(column: pa.ChunkedArray, field: pa.Field) -> pa.ChunkedArray:
    if column.null_count and not field.nullable:
        raise TableError(f"Column {field.name} lacks a value in {column.null_count} rows.")
    try:
        return column.cast(field.type)
    except (ValueError, NotImplementedError):
        # Drop the cause, which Dagster would store: pyarrow's message quotes the value.
        raise TableError(f"Column {field.name} is {column.type} instead of {field.type}.") from None


def list_displayable_columns(schema: pa.Schema) -> list[str]:
    """Columns without report text, which the Dagster UI may show."""
    return [f.name for f in schema if b"is_report_text" not in (f.metadata or {})]

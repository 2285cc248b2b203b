"""Tables as typed records: a class declares a table once, and its Arrow schema follows from the fields.

A field is `Annotated[TYPE, Column("what it means")]`; a value that may be absent is `TYPE | None`, a list is `tuple[TYPE, ...]`,
and a structure is another record. Does not know where tables are kept.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import date, datetime
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
_ROWS_IN_MEMORY = 1024


@dataclass(frozen=True)
class Column:
    meaning: str
    is_report_text: bool = False
    """It holds text of reports, scrubbed or not: it is never shown in the Dagster UI, since no scrubber finds everything and the
    UI has no login."""


@dataclass_transform(frozen_default=True, kw_only_default=True)
class Record:
    """A row of a table. Subclasses are frozen dataclasses whose fields are given by name."""

    SCHEMA: ClassVar[pa.Schema]
    _CONVERSIONS: ClassVar[Mapping[str, Callable[[Any], Any] | None]]
    """Field → how a value of pyarrow becomes the field's; None where it is one already."""

    def __init_subclass__(cls) -> None:
        dataclass(frozen=True, kw_only=True, repr=False)(cls)
        hints = get_type_hints(cls, include_extras=True)
        declared = {field.name: hints[field.name] for field in fields(cls)}  # type: ignore[arg-type]
        cls.SCHEMA = pa.schema([_arrow_field(name, hint) for name, hint in declared.items()])
        cls._CONVERSIONS = {name: _conversion(_present(_bare(hint))) for name, hint in declared.items()}

    def __repr__(self) -> str:
        """Without text of reports, which must not reach a log or an error: only fields that are declared to hold none."""
        shown = [field.name for field in self.SCHEMA if field.metadata and b"raw_text" not in field.metadata]
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in shown)})"

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """From a row as pyarrow gives it. Keys that are no fields are left out; a missing one raises KeyError."""
        return cls(**{name: _converted(row[name], convert) for name, convert in cls._CONVERSIONS.items()})

    def as_row(self) -> dict[str, Any]:
        """As pyarrow takes it."""
        return {name: _plain(getattr(self, name)) for name in self._CONVERSIONS}


R = TypeVar("R", bound=Record)


def records_of(kind: type[R], table: pa.Table) -> Iterator[R]:
    """The rows of a table that has at least the record's columns, a thousand at a time in memory."""
    for batch in table.select(kind.SCHEMA.names).to_batches(max_chunksize=_ROWS_IN_MEMORY):
        yield from map(kind.of, batch.to_pylist())


def only_record(kind: type[R], table: pa.Table) -> R:
    """The row of a table that has exactly one. Raises TableError."""
    if table.num_rows != 1:
        raise TableError(f"A table of {kind.__name__} has {table.num_rows} rows instead of 1.")
    return next(records_of(kind, table))


def table_from(kind: type[R], records: Iterable[R]) -> pa.Table:
    """A table of the records. Raises TableError if a value is absent that must not be."""
    return table_of((record.as_row() for record in records), kind.SCHEMA)


def table_of(rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """A table of `rows` with exactly the schema's columns. Raises TableError if a required value is absent."""
    table = pa.Table.from_pylist([dict(row) for row in rows], schema=schema)
    check_table(table, schema)
    return table


def _bare(hint: Any) -> Any:
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def _present(kind: Any) -> Any:
    """`X` of `X | None`."""
    return next((part for part in get_args(kind) if part is not NoneType), kind) if NoneType in get_args(kind) else kind


def _arrow_field(name: str, hint: Any) -> pa.Field:
    kind = _bare(hint)
    column = next((part for part in get_args(hint)[1:] if isinstance(part, Column)), None)
    metadata = None
    if column is not None:
        metadata = {"meaning": column.meaning, **({"raw_text": "yes"} if column.is_report_text else {})}
    return pa.field(name, _arrow_type(_present(kind)), nullable=NoneType in get_args(kind), metadata=metadata)


def _arrow_type(kind: Any) -> pa.DataType:
    if get_origin(kind) is tuple:
        return pa.list_(_arrow_type(get_args(kind)[0]))
    if isinstance(kind, type) and issubclass(kind, Record):
        return pa.struct([(field.name, field.type) for field in kind.SCHEMA])
    return _ARROW_TYPES[kind]


def _conversion(kind: Any) -> Callable[[Any], Any] | None:
    if get_origin(kind) is tuple:
        convert = _conversion(get_args(kind)[0])
        return tuple if convert is None else lambda values: tuple(map(convert, values))
    return kind.of if isinstance(kind, type) and issubclass(kind, Record) else None


def _converted(value: Any, convert: Callable[[Any], Any] | None) -> Any:
    return value if convert is None or value is None else convert(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Record):
        return value.as_row()
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def check_table(table: pa.Table, schema: pa.Schema) -> None:
    """Raise TableError unless `table` has the schema's columns, types and no absent value where none may be."""
    if table.schema.names != schema.names:
        raise TableError(f"The table has columns {table.schema.names} instead of {schema.names}.")
    for field in schema:
        if table.schema.field(field.name).type != field.type:
            raise TableError(f"Column {field.name} is {table.schema.field(field.name).type} instead of {field.type}.")
        absent = table.column(field.name).null_count
        if absent and not field.nullable:
            raise TableError(f"Column {field.name} lacks a value in {absent} rows.")


def conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table with exactly the schema's columns and types, such as after Parquet, which names list elements otherwise.

    A column that may be absent and is: the table was stored by a version that did not have it yet. Raises TableError.
    """
    for field in schema:
        if field.nullable and field.name not in table.schema.names:
            table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    try:
        conformed = table.select(schema.names).cast(schema)
    except (KeyError, ValueError, pa.ArrowInvalid):
        # Without its cause, which Dagster would keep: pyarrow's message quotes the value that it can't convert.
        raise TableError(f"The table has columns {table.schema.names} instead of {schema.names}.") from None
    check_table(conformed, schema)
    return conformed


def shown_columns(schema: pa.Schema) -> list[str]:
    """Columns that the Dagster UI may show: without those that hold text of reports."""
    return [f.name for f in schema if b"raw_text" not in (f.metadata or {})]

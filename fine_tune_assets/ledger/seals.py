"""Seals the rows that decide: each has a keyed hash of its values, by a key that the database does not hold.

Someone with write access to the database, but without the installation's keys, can neither add such a row nor change one
unnoticed. Every insert and update of a sealed table is sealed here, by events of the engine; a row is verified before it is
updated. Readers call `require_sealed` or `select_sealed` where a row decides. A seal does not show that a row was deleted or
replaced by an earlier version: the audit log does (docs/explanation/threat-model.md).
"""

import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, TypeVar

import sqlalchemy as sa

from fine_tune_assets.ledger.encryption import derive_key
from fine_tune_assets.ledger.ledger_errors import SealError
from fine_tune_assets.ledger.ledger_tables import SEAL, SEALED_TABLES, metadata

_OPTION = "ledger_seals"
_BYPASS = "ledger_writes_seal"
_PENDING = "rows to seal"
RecordT = TypeVar("RecordT")


@dataclass(frozen=True)
class BrokenSeal:
    table: str
    row: str
    """Primary key; never a value."""


class Seals:
    """The keys of one ledger: `chain` for its audit logs, and one for the seals of rows."""

    def __init__(self, key: bytes) -> None:
        self._row_key, self.chain = derive_key(key, "row-seals"), derive_key(key, "audit-chain")

    def compute(self, table: sa.Table, row: Any) -> str:
        unsealed = SEALED_TABLES[table.name]
        values = [_plain(row[column.name]) for column in table.columns if column.name not in unsealed]
        text = json.dumps([table.name, values], ensure_ascii=False, separators=(",", ":"))
        return hmac.new(self._row_key, text.encode(), sha256).hexdigest()

    def is_intact(self, table: sa.Table, row: Any) -> bool:
        return hmac.compare_digest(str(row[SEAL]).encode(), self.compute(table, row).encode())


def install_seals(engine: sa.Engine, key: bytes) -> None:
    """Seal the writes of this engine's connections, and make the key available to their readers."""
    engine.update_execution_options(**{_OPTION: Seals(key)})
    sa.event.listen(engine, "before_execute", _verify_before_update)
    sa.event.listen(engine, "after_execute", _seal_after_write)


def get_seals(connection: sa.Connection) -> Seals:
    seals = connection.get_execution_options().get(_OPTION)
    assert isinstance(seals, Seals), "Open the ledger with open_ledger."
    return seals


def select_sealed(connection: sa.Connection, query: sa.Select[Any]) -> Sequence[sa.RowMapping]:
    """The rows of a query that selects all columns of one sealed table. Raises SealError."""
    (table,) = {column.table for column in query.selected_columns}  # `get_final_froms` compiles the query, for 4 ms
    assert isinstance(table, sa.Table)
    rows = connection.execute(query).mappings().all()
    for row in rows:
        verify_row(connection, table, row)
    return rows


def select_sealed_records(
    connection: sa.Connection, query: sa.Select[Any], record: Callable[..., RecordT]
) -> list[RecordT]:
    """Like `select_sealed`, as records with some of the columns."""
    names = record.__dataclass_fields__  # type: ignore[attr-defined]
    return [record(**{name: row[name] for name in names}) for row in select_sealed(connection, query)]


def verify_row(connection: sa.Connection, table: sa.Table, row: Any) -> None:
    """Raise SealError unless a row with all columns is intact."""
    if not get_seals(connection).is_intact(table, row):
        raise SealError(table.name, _name_row(table, row))


def require_sealed(connection: sa.Connection, table: sa.Table, condition: sa.ColumnElement[bool]) -> None:
    """Raise SealError unless every row that meets the condition is intact."""
    select_sealed(connection, sa.select(table).where(condition))


def find_broken_seals(connection: sa.Connection) -> list[BrokenSeal]:
    """Every row of a sealed table that was added or changed by other means."""
    seals, broken = get_seals(connection), list[BrokenSeal]()
    for table in (metadata.tables[name] for name in SEALED_TABLES):
        try:
            rows = connection.execute(sa.select(table)).mappings().all()
            broken += [BrokenSeal(table.name, _name_row(table, row)) for row in rows if not seals.is_intact(table, row)]
        except (ValueError, TypeError):  # a value that this program can't have written
            broken.append(BrokenSeal(table.name, "that is unreadable"))
    return broken


def _verify_before_update(
    connection: sa.Connection, clause: Any, _multiparams: Any, _params: Any, options: Mapping[str, Any]
) -> None:
    """Otherwise an update by this program would give a changed row a new seal."""
    connection.info.pop(_PENDING, None)
    if (
        _is_sealed(clause, sa.sql.dml.Update, options)
        and not _written(clause).keys() <= SEALED_TABLES[clause.table.name]
    ):
        query = sa.select(clause.table).with_for_update()
        query = query if clause.whereclause is None else query.where(clause.whereclause)
        connection.info[_PENDING] = select_sealed(connection, query)


def _seal_after_write(
    connection: sa.Connection, clause: Any, _multiparams: Any, _params: Any, options: Mapping[str, Any], result: Any
) -> None:
    table: Any = getattr(clause, "table", None)
    if _is_sealed(clause, sa.sql.dml.Update, options):
        for before in connection.info.pop(_PENDING, ()):
            _seal(connection, table, _key_of(table, before), {**before, **_written(clause)})
    elif _is_sealed(clause, sa.sql.dml.Insert, options):
        key = tuple(result.inserted_primary_key)
        names = [column.name for column in table.columns]
        given = {**dict.fromkeys(names), **_defaults(table), **_written(clause)}
        keys = zip((column.name for column in table.primary_key.columns), key, strict=True)
        _seal(connection, table, key, {**given, **dict(keys)})


def _seal(connection: sa.Connection, table: Any, key: tuple[Any, ...], expected: Mapping[str, Any]) -> None:
    """Seal a row that has exactly the values that this program wrote: a trigger could have added others. Raises SealError."""
    is_row = sa.and_(*(column == value for column, value in zip(table.primary_key.columns, key, strict=True)))
    row = connection.execute(sa.select(table).where(is_row)).mappings().one()
    unsealed = SEALED_TABLES[table.name]
    for name in (column.name for column in table.columns if column.name not in unsealed):
        if not isinstance(expected[name], sa.ClauseElement) and _plain(row[name]) != _plain(expected[name]):
            raise SealError(table.name, _name_row(table, row))
    update = table.update().where(is_row).values({SEAL: get_seals(connection).compute(table, row)})
    connection.execute(update, execution_options={_BYPASS: True})


def _written(clause: Any) -> dict[str, Any]:
    """Column → value that a statement writes; an SQL expression stays one."""
    values = {
        column if isinstance(column, str) else column.name: value for column, value in (clause._values or {}).items()
    }
    return {
        name: value.effective_value if isinstance(value, sa.BindParameter) else value for name, value in values.items()
    }


def _defaults(table: sa.Table) -> dict[str, Any]:
    """Column → value that the database writes if none is given."""
    found: dict[str, Any] = {}
    for column in table.columns:
        if column.server_default is not None and column.name != SEAL:
            given = column.server_default.arg  # type: ignore[attr-defined]
            found[column.name] = given if isinstance(given, str) else not isinstance(given, sa.False_)
    return found


def _is_sealed(clause: Any, kind: type[Any], options: Mapping[str, Any]) -> bool:
    return isinstance(clause, kind) and clause.table.name in SEALED_TABLES and not options.get(_BYPASS, False)


def _key_of(table: sa.Table, row: Any) -> tuple[Any, ...]:
    return tuple(row[column.name] for column in table.primary_key.columns)


def _name_row(table: sa.Table, row: Any) -> str:
    return " ".join(map(str, _key_of(table, row)))


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return bytes(value).hex() if isinstance(value, bytes | memoryview) else value

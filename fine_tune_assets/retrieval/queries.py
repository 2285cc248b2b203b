"""Rows of a table of the organisation, by a query that a `.sql.yaml` file holds.

Owns that a query only reads, and that no address or password stands in the file: it names a variable of the environment or a file
in the keys folder. Does not know what the rows mean.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from fine_tune_assets.retrieval.documents import Block, DocumentFault, UnreadableDocumentError
from fine_tune_assets.retrieval.outlines import blocks_of_rows

MOST_ROWS = 20_000
VARIABLE_PREFIX = "KNOWLEDGE_URL_"
"""Only such variables are read: a file can't ask for any other secret."""
DEFAULT_MINUTES = 60
_SELECT = re.compile(r"\s*(?:select|with)\b", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
ReadVariable = Callable[[str], str | None]


def run_query(asked: Mapping[str, Any], keys: Path, read_variable: ReadVariable) -> list[Block]:
    """Raises UnreadableDocumentError; the database's own words may quote a row and are dropped."""
    query = str(asked.get("query") or "").strip().rstrip(";")
    if not _SELECT.match(query) or ";" in query:
        raise UnreadableDocumentError(DocumentFault.BAD_QUERY, "`query` must be one SELECT.")
    refresh_minutes(asked)
    try:
        url = _driver(sa.make_url(_url(asked, keys, read_variable)))
        return _rows(sa.create_engine(url, hide_parameters=True, poolclass=sa.NullPool), query)
    except sa.exc.ArgumentError:
        raise UnreadableDocumentError(DocumentFault.NO_DATABASE, "Its address is no SQLAlchemy URL.") from None
    except (sa.exc.SQLAlchemyError, ImportError) as error:
        raise UnreadableDocumentError(
            DocumentFault.BAD_QUERY, f"The database refused it ({type(error).__name__}). Try the query there."
        ) from None


def refresh_minutes(asked: Mapping[str, Any]) -> int:
    """How long its rows may be old. Raises UnreadableDocumentError."""
    stated = asked.get("refresh_minutes", DEFAULT_MINUTES)
    if not str(stated).isdigit() or int(stated) < 1:
        raise UnreadableDocumentError(DocumentFault.BAD_QUERY, "`refresh_minutes` must be a whole number from 1.")
    return int(stated)


def _url(asked: Mapping[str, Any], keys: Path, read_variable: ReadVariable) -> str:
    variable, file = asked.get("url_env"), asked.get("url_file")
    if bool(variable) == bool(file):
        raise UnreadableDocumentError(DocumentFault.NO_DATABASE, "Name one of `url_env` and `url_file`.")
    name = str(variable or file)
    if _NAME.fullmatch(name) is None or (variable and not name.startswith(VARIABLE_PREFIX)):
        raise UnreadableDocumentError(
            DocumentFault.NO_DATABASE,
            f"`url_env` must start with {VARIABLE_PREFIX}; `url_file` is a name in the keys folder.",
        )
    try:
        found = read_variable(name) if variable else (keys / name).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        found = None
    if not found:
        raise UnreadableDocumentError(DocumentFault.NO_DATABASE, "What it names holds no address.")
    return found


def _driver(url: sa.URL) -> sa.URL:
    # SQLAlchemy 2.1 would look for psycopg 3, which is not what is installed.
    return url.set(drivername="postgresql+psycopg2") if url.drivername == "postgresql" else url


def _rows(engine: sa.Engine, query: str) -> list[Block]:
    try:
        with engine.connect() as connection:
            _only_read(connection)
            found = connection.execute(sa.text(query))
            names, rows = list(found.keys()), found.fetchmany(MOST_ROWS + 1)
            connection.rollback()
    finally:
        engine.dispose()
    if len(rows) > MOST_ROWS:
        raise UnreadableDocumentError(DocumentFault.TOO_LARGE, f"The query gives more than {MOST_ROWS} rows.")
    return blocks_of_rows([names, *([_cell(value) for value in row] for row in rows)])


def _only_read(connection: sa.Connection) -> None:
    """So that a SELECT which calls something that writes is refused too; all else is rolled back."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA query_only = ON")
    elif connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET TRANSACTION READ ONLY")
        connection.exec_driver_sql("SET LOCAL statement_timeout = '60s'")


def _cell(value: Any) -> str:
    return "" if value is None else str(value)

"""Runs the query of a `.sql.yaml` file and returns its rows as blocks.

Queries are read-only. The file contains no address or password: it names an environment variable or a file in the keys folder.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from fine_tune_assets.retrieval.block_parsers import rows_to_blocks
from fine_tune_assets.retrieval.documents import Block, DocumentFault, UnreadableDocumentError

MAX_ROWS = 20_000
VARIABLE_PREFIX = "KNOWLEDGE_URL_"
"""Only variables with this prefix are read, so a file can't request any other secret."""
DEFAULT_REFRESH_MINUTES = 60
_SELECT = re.compile(r"\s*(?:select|with)\b", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
ReadVariable = Callable[[str], str | None]


def run_query(request: Mapping[str, Any], keys: Path, read_variable: ReadVariable) -> list[Block]:
    """Raises UnreadableDocumentError. Database messages may quote a row and are dropped."""
    query = str(request.get("query") or "").strip().rstrip(";")
    if not _SELECT.match(query) or ";" in query:
        raise UnreadableDocumentError(DocumentFault.INVALID_QUERY, "`query` must be a single SELECT.")
    parse_refresh_minutes(request)
    try:
        url = _set_driver(sa.make_url(_read_url(request, keys, read_variable)))
        return _fetch_blocks(sa.create_engine(url, hide_parameters=True, poolclass=sa.NullPool), query)
    except sa.exc.ArgumentError:
        raise UnreadableDocumentError(
            DocumentFault.NO_DATABASE, "The database address is not a valid SQLAlchemy URL."
        ) from None
    except (sa.exc.SQLAlchemyError, ImportError) as error:
        raise UnreadableDocumentError(
            DocumentFault.INVALID_QUERY,
            f"The database rejected the query ({type(error).__name__}). Test it in the database.",
        ) from None


def parse_refresh_minutes(request: Mapping[str, Any]) -> int:
    """Maximum age of the rows, in minutes. Raises UnreadableDocumentError."""
    stated = request.get("refresh_minutes", DEFAULT_REFRESH_MINUTES)
    if not str(stated).isdigit() or int(stated) < 1:
        raise UnreadableDocumentError(
            DocumentFault.INVALID_QUERY, "`refresh_minutes` must be an integer of at least 1."
        )
    return int(stated)


def _read_url(request: Mapping[str, Any], keys: Path, read_variable: ReadVariable) -> str:
    variable, file = request.get("url_env"), request.get("url_file")
    if bool(variable) == bool(file):
        raise UnreadableDocumentError(DocumentFault.NO_DATABASE, "Set either `url_env` or `url_file`.")
    name = str(variable or file)
    if _NAME.fullmatch(name) is None or (variable and not name.startswith(VARIABLE_PREFIX)):
        raise UnreadableDocumentError(
            DocumentFault.NO_DATABASE,
            f"`url_env` must start with {VARIABLE_PREFIX}; `url_file` must name a file in the keys folder.",
        )
    try:
        url = read_variable(name) if variable else (keys / name).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        url = None
    if not url:
        raise UnreadableDocumentError(
            DocumentFault.NO_DATABASE, "The variable or file that it names contains no address."
        )
    return url


def _set_driver(url: sa.URL) -> sa.URL:
    # SQLAlchemy 2.1 defaults to psycopg 3, which is not installed.
    return url.set(drivername="postgresql+psycopg2") if url.drivername == "postgresql" else url


def _fetch_blocks(engine: sa.Engine, query: str) -> list[Block]:
    try:
        with engine.connect() as connection:
            _make_read_only(connection)
            result = connection.execute(sa.text(query))
            names, rows = list(result.keys()), result.fetchmany(MAX_ROWS + 1)
            connection.rollback()
    finally:
        engine.dispose()
    if len(rows) > MAX_ROWS:
        raise UnreadableDocumentError(DocumentFault.TOO_LARGE, f"The query returns more than {MAX_ROWS} rows.")
    return rows_to_blocks([names, *([_format_cell(value) for value in row] for row in rows)])


def _make_read_only(connection: sa.Connection) -> None:
    """Reject a SELECT that calls a function that writes; everything else is rolled back."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA query_only = ON")
    elif connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET TRANSACTION READ ONLY")
        connection.exec_driver_sql("SET LOCAL statement_timeout = '60s'")


def _format_cell(value: Any) -> str:
    return "" if value is None else str(value)

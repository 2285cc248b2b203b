"""Reads that take no thread: a SQLite file is read at once, whoever writes and however many connections are out."""

import threading
import time
from contextlib import ExitStack

import pytest
import sqlalchemy as sa

from fine_tune_assets.gateway.reads import read_ledger
from fine_tune_assets.ledger.database import Ledger

POOL = 15
"""Connections that SQLAlchemy gives out before it lets others wait."""


def _thread_of(ledger: Ledger) -> tuple[int, int]:
    with ledger.read() as connection:
        return threading.get_ident(), int(connection.execute(sa.text("SELECT 1")).scalar_one())


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_file_is_read_where_it_is_asked_and_a_server_in_a_thread(ledger: Ledger) -> None:
    """What waits for a network would hold up every other request."""
    thread, found = await read_ledger(_thread_of, ledger)
    assert found == 1
    assert (thread == threading.get_ident()) == (ledger.engine.dialect.name == "sqlite")


def test_it_waits_for_no_writer_and_for_no_connection_of_the_others(ledger: Ledger) -> None:
    """The event loop would stand still: for 30 s, as long as a connection is waited for."""
    if ledger.engine.dialect.name != "sqlite":
        assert ledger.without_waiting is None
        return
    with ExitStack() as held:
        held.enter_context(ledger.begin())
        for _ in range(POOL - 1):
            held.enter_context(ledger.read())
        assert ledger.without_waiting is not None
        began = time.monotonic()
        _thread_of(ledger.without_waiting)
        assert time.monotonic() - began < 5

"""The nonblocking reader: reads a SQLite file at once, whatever writers and other connections do."""

import threading
import time
from contextlib import ExitStack

import pytest
import sqlalchemy as sa

from fine_tune_assets.gateway.callers.authentication import read_ledger
from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.ledger_errors import LedgerError
from fine_tune_assets.ledger.people.api_keys import create_key, list_keys

POOL = 15
"""Connections that SQLAlchemy provides before further requests wait."""


def _thread_of(ledger: Ledger) -> tuple[int, int]:
    with ledger.read() as connection:
        return threading.get_ident(), int(connection.execute(sa.text("SELECT 1")).scalar_one())


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_sqlite_is_read_in_place_and_a_server_in_a_thread(ledger: Ledger) -> None:
    """Waiting for the network would block every other request."""
    thread, found = await read_ledger(_thread_of, ledger)
    assert found == 1
    assert (thread == threading.get_ident()) == (ledger.engine.dialect.name == "sqlite")


def test_reader_waits_for_no_writer_and_no_pooled_connection(ledger: Ledger) -> None:
    """Otherwise the event loop would block for up to 30 s."""
    if ledger.engine.dialect.name != "sqlite":
        assert ledger.nonblocking_reader is None
        return
    with ExitStack() as held:
        held.enter_context(ledger.begin())
        for _ in range(POOL - 1):
            held.enter_context(ledger.read())
        assert ledger.nonblocking_reader is not None
        began = time.monotonic()
        _thread_of(ledger.nonblocking_reader)
        assert time.monotonic() - began < 5


@pytest.fixture
def reader(ledger: Ledger) -> Ledger:
    if ledger.nonblocking_reader is None:
        pytest.skip("A server is read in a thread.")
    return ledger.nonblocking_reader


def test_each_read_sees_earlier_writes(ledger: Ledger, reader: Ledger) -> None:
    """A connection that reader its first snapshot would accept a revoked key."""
    assert list_keys(reader) == []
    create_key(ledger, "one", ["chat"])
    assert [key.name for key in list_keys(reader)] == ["one"]


def test_one_read_sees_one_snapshot(ledger: Ledger, reader: Ledger) -> None:
    """A canary release and its verdict are read one after the other, from one state."""
    count = sa.text("SELECT count(*) FROM api_keys")
    with reader.read() as connection:
        before = connection.execute(count).scalar_one()
        create_key(ledger, "one", ["chat"])
        assert connection.execute(count).scalar_one() == before
    with reader.read() as connection:
        assert connection.execute(count).scalar_one() == before + 1


def test_reader_cannot_write(reader: Ledger) -> None:
    """It would bypass the lock that keeps the audit chains in order."""
    with pytest.raises(LedgerError):
        audit.append(reader, "tester", "wrote", "something")
    with pytest.raises(sa.exc.OperationalError), reader.read() as connection:
        connection.execute(sa.text("DELETE FROM api_keys"))


def test_next_read_succeeds_after_an_error(ledger: Ledger, reader: Ledger) -> None:
    """A single disk error must not require a restart of the gateway."""
    create_key(ledger, "one", ["chat"])
    with pytest.raises(sa.exc.OperationalError), reader.read() as connection:
        connection.execute(sa.text("SELECT * FROM no_such_table"))
    with reader.read() as connection:
        driver = connection.connection.driver_connection
    assert driver is not None
    driver.close()
    with pytest.raises(sa.exc.OperationalError):  # the gateway then asks the caller to retry
        list_keys(reader)
    assert [key.name for key in list_keys(reader)] == ["one"]


def test_query_error_keeps_the_connection(ledger: Ledger, reader: Ledger) -> None:
    """Our own error is not the connection's fault: it stays open and holds no old snapshot."""
    with reader.read() as connection:
        first = connection
    with pytest.raises(LedgerError), reader.read():
        raise LedgerError("refused")
    create_key(ledger, "one", ["chat"])
    with reader.read() as connection:
        assert connection is first
    assert [key.name for key in list_keys(reader)] == ["one"]

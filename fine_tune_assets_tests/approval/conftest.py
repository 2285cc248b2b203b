"""What is decided is kept in a ledger: SQLite and a real PostgreSQL server."""

from fine_tune_assets_tests.ledger.conftest import database, ledger, ledger_url

__all__ = ["database", "ledger", "ledger_url"]

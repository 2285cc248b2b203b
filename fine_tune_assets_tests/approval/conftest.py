"""What is decided is kept in a ledger: SQLite and a real PostgreSQL server."""

from fine_tune_assets_tests.ledger.conftest import ledger, ledger_url

__all__ = ["ledger", "ledger_url"]

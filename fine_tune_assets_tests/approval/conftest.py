"""Decisions are stored in a real ledger: SQLite and PostgreSQL."""

from fine_tune_assets_tests.ledger.conftest import database, ledger, ledger_url

__all__ = ["database", "ledger", "ledger_url"]

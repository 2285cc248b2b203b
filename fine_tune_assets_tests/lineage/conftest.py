"""Traces are tested on both databases."""

from fine_tune_assets_tests.ledger.conftest import database, ledger, ledger_url
from fine_tune_assets_tests.postgres import postgres_server

__all__ = ["database", "ledger", "ledger_url", "postgres_server"]

"""Traces are tested on both databases, with one data folder."""

from pathlib import Path

import pytest

from fine_tune_assets.core.paths import Layout
from fine_tune_assets_tests.ledger.conftest import database, ledger, ledger_url
from fine_tune_assets_tests.postgres import postgres_server

__all__ = ["database", "ledger", "ledger_url", "postgres_server"]


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "data")

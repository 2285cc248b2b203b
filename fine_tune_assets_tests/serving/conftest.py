from collections.abc import Iterator
from pathlib import Path

import pytest

from fine_tune_assets.core.settings import Settings
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets_tests.ledger.fresh import fresh_ledger


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, threads=2)


@pytest.fixture
def ledger(settings: Settings) -> Iterator[Ledger]:
    opened = fresh_ledger(settings.database_url)
    yield opened
    opened.close()

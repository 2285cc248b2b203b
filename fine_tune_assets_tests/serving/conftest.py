from collections.abc import Iterator
from pathlib import Path

import pytest

from fine_tune_assets.core.settings import Settings
from fine_tune_assets.ledger.database import Ledger, open_ledger


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, threads=2)


@pytest.fixture
def ledger(settings: Settings) -> Iterator[Ledger]:
    opened = open_ledger(settings.database_url)
    yield opened
    opened.close()

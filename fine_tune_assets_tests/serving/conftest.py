from pathlib import Path

import pytest

from fine_tune_assets.core.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, threads=2)

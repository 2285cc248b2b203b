"""The real small model, imported once for all tests that train, judge or merge."""

from pathlib import Path

import pytest

from fine_tune_assets.core.settings import go_offline
from fine_tune_assets.training.base_models import import_bundled_model


@pytest.fixture(scope="session")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2-135M-Instruct as a local Safetensors folder."""
    go_offline()
    return import_bundled_model(tmp_path_factory.mktemp("base_models") / "SmolLM2-135M-Instruct")

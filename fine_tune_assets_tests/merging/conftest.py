"""A model that merges in a second."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def two_layers(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first two layers of the small model."""
    from fine_tune_assets.engines.transformers_models import load_model  # with torch, which takes seconds
    from fine_tune_assets.merging.merge import TOKENIZER_FILES

    folder = tmp_path_factory.mktemp("two-layers") / "base"
    load_model(smollm2, layers=2).save_pretrained(folder)
    for name in TOKENIZER_FILES:
        if (smollm2 / name).is_file():
            shutil.copy(smollm2 / name, folder)
    return folder

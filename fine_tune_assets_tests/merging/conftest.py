"""A model that merges in a second."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def two_layers(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first two layers of the small model."""
    from transformers import AutoConfig, AutoModelForCausalLM  # with torch, which takes seconds

    from fine_tune_assets.merging.merge import TOKENIZER_FILES

    folder = tmp_path_factory.mktemp("two-layers") / "base"
    config = AutoConfig.from_pretrained(smollm2, num_hidden_layers=2)
    AutoModelForCausalLM.from_pretrained(smollm2, config=config).save_pretrained(folder)
    for name in TOKENIZER_FILES:
        if (smollm2 / name).is_file():
            shutil.copy(smollm2 / name, folder)
    return folder

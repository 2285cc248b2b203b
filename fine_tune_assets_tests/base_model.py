"""The real small model, imported once for all tests that train, judge or merge: by one worker, for all of them."""

import fcntl
import os
from pathlib import Path

import pytest

from fine_tune_assets.core.settings import go_offline
from fine_tune_assets.training.base_models import bundled_gguf, import_bundled_model

NAME = "SmolLM2-135M-Instruct"


@pytest.fixture(scope="session")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2-135M-Instruct as a local Safetensors folder."""
    go_offline()
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "base_models"
    shared.mkdir(exist_ok=True)
    with (shared / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return import_bundled_model(shared / NAME)


@pytest.fixture(scope="session")
def smollm2_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its tokenizer and chat template alone: the weights take 20 seconds more."""
    from fine_tune_assets.training.importing.gguf_files import gguf_tokenizer, read_gguf

    go_offline()
    gguf = bundled_gguf()
    folder = tmp_path_factory.mktemp("tokenizer") / NAME
    gguf_tokenizer(gguf, read_gguf(gguf).pre_tokenizer).save_pretrained(folder)
    return folder

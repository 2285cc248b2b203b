"""The real small model for tests that train, judge or merge, imported once by one worker for all workers."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fine_tune_assets.core.processes.offline import go_offline
from fine_tune_assets.training.base_models.registration import bundled_gguf, import_bundled_model

NAME = "SmolLM2-135M-Instruct"


@pytest.fixture(scope="session")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2-135M-Instruct as a local Safetensors folder."""
    with _shared(tmp_path_factory) as folder:
        return import_bundled_model(folder / NAME)


@pytest.fixture(scope="session")
def smollm2_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its tokenizer and chat template only: importing the weights takes 20 more seconds."""
    from fine_tune_assets.training.base_models.gguf_files import load_gguf_tokenizer, read_gguf_facts

    with _shared(tmp_path_factory) as shared:
        folder = shared / "tokenizer" / NAME
        if not folder.exists():
            gguf = bundled_gguf()
            load_gguf_tokenizer(gguf, read_gguf_facts(gguf).pre_tokenizer).save_pretrained(folder)
        return folder


@contextmanager
def _shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder shared by all workers, locked for one at a time."""
    go_offline()
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "base_models"
    shared.mkdir(exist_ok=True)
    with (shared / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield shared

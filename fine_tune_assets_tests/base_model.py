"""The real small model, imported once for all tests that train, judge or merge: by one worker, for all of them."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fine_tune_assets.core.processes.offline import go_offline
from fine_tune_assets.training.base_models.registry import bundled_gguf, import_bundled_model

NAME = "SmolLM2-135M-Instruct"


@pytest.fixture(scope="session")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2-135M-Instruct as a local Safetensors folder."""
    with _shared(tmp_path_factory) as folder:
        return import_bundled_model(folder / NAME)


@pytest.fixture(scope="session")
def smollm2_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its tokenizer and chat template alone: the weights take 20 seconds more."""
    from fine_tune_assets.training.base_models.gguf_files import gguf_tokenizer, read_gguf

    with _shared(tmp_path_factory) as shared:
        folder = shared / "tokenizer" / NAME
        if not folder.exists():
            gguf = bundled_gguf()
            gguf_tokenizer(gguf, read_gguf(gguf).pre_tokenizer).save_pretrained(folder)
        return folder


@contextmanager
def _shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of all workers, for one at a time."""
    go_offline()
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "base_models"
    shared.mkdir(exist_ok=True)
    with (shared / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield shared

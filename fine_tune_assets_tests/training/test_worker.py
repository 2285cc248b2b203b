"""The trainer's process trains on the base model on record, or not at all."""

from pathlib import Path

import pytest

from fine_tune_assets.core.errors import ChangedFolderError
from fine_tune_assets.core.progress import silent
from fine_tune_assets.training.__main__ import train


def test_a_base_model_that_is_not_the_one_on_record_is_not_trained_on(tmp_path: Path) -> None:
    """The adapter would name a base that it never saw."""
    (tmp_path / "model.safetensors").write_bytes(b"other weights")
    with pytest.raises(ChangedFolderError, match="base model"):
        train({"base_folder": str(tmp_path), "base_fingerprint": "0" * 64}, silent)

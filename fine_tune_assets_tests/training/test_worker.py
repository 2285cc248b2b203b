"""The worker trains only on the recorded base model."""

from pathlib import Path

import pytest

from fine_tune_assets.core.errors import ChangedFolderError
from fine_tune_assets.core.progress import ignore_progress
from fine_tune_assets.training.__main__ import train


def test_a_changed_base_model_is_refused(tmp_path: Path) -> None:
    """The adapter would name a base model that it was not trained on."""
    (tmp_path / "model.safetensors").write_bytes(b"other weights")
    with pytest.raises(ChangedFolderError):
        train({"base_folder": str(tmp_path), "base_fingerprint": "0" * 64}, ignore_progress)

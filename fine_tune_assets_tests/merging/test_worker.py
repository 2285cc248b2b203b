"""The merge worker accepts only the recorded weights."""

from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.errors import ChangedFolderError
from fine_tune_assets.core.fingerprints import fingerprint_folder
from fine_tune_assets.core.progress import ignore_progress
from fine_tune_assets.merging.__main__ import export, merge


@pytest.fixture
def request_on_record(tmp_path: Path) -> dict[str, Any]:
    """A request with three folders that match their records."""
    for name in ("base", "adapter", "merged"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(name.encode())
    return {
        "base_folder": str(tmp_path / "base"),
        "base_fingerprint": fingerprint_folder(tmp_path / "base"),
        "adapter_folder": str(tmp_path / "adapter"),
        "adapter_id": fingerprint_folder(tmp_path / "adapter"),
        "merged_folder": str(tmp_path / "merged"),
        "weights_fingerprint": fingerprint_folder(tmp_path / "merged"),
        "limits": {"q8_0": {}},
    }


@pytest.mark.parametrize(("changed", "named"), [("base_fingerprint", "base model"), ("adapter_id", "adapter")])
def test_weights_that_differ_from_the_record_are_not_merged(
    request_on_record: dict[str, Any], changed: str, named: str
) -> None:
    """The verdict was about other bytes."""
    with pytest.raises(ChangedFolderError, match=named):
        merge({**request_on_record, changed: "0" * 64}, ignore_progress)


def test_merged_weights_that_differ_from_the_record_are_not_exported(request_on_record: dict[str, Any]) -> None:
    """They could have been replaced after the comparison with the adapter."""
    with pytest.raises(ChangedFolderError, match="merged model"):
        export({**request_on_record, "weights_fingerprint": "0" * 64}, ignore_progress)

"""The merger's process takes the weights on record, or none."""

from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.errors import ChangedFolderError
from fine_tune_assets.core.fingerprints import fingerprint_folder
from fine_tune_assets.core.progress import silent
from fine_tune_assets.merging.__main__ import export, merge


@pytest.fixture
def request_on_record(tmp_path: Path) -> dict[str, Any]:
    """A request about three folders that are all as recorded."""
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
def test_what_is_not_on_record_is_not_merged(request_on_record: dict[str, Any], changed: str, named: str) -> None:
    """The verdict was about other bytes."""
    with pytest.raises(ChangedFolderError, match=named):
        merge({**request_on_record, changed: "0" * 64}, silent)


def test_merged_weights_that_are_not_on_record_are_not_exported(request_on_record: dict[str, Any]) -> None:
    """They were compared with the adapter, and then somebody put others in their place."""
    with pytest.raises(ChangedFolderError, match="merged model"):
        export({**request_on_record, "weights_fingerprint": "0" * 64}, silent)

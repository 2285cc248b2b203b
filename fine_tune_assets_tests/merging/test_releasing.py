"""A release folder that was damaged is repaired by what its error advises."""

from pathlib import Path

import pytest

from fine_tune_assets.core.prompt_contract import PromptContract
from fine_tune_assets.core.releases import MODEL, PROMPT, ReleaseError, ReleaseFolder, verify_release
from fine_tune_assets.merging.releasing import build_release

CONTRACT = PromptContract("Be brief.", "{{ x }}", (), (2,), 2)


def _build(tmp_path: Path) -> ReleaseFolder:
    gguf = tmp_path / "any.gguf"
    gguf.write_bytes(b"weights")
    return build_release(tmp_path / "releases", gguf, CONTRACT, {"verdict.json": "{}"}, {"a": "b"})


@pytest.mark.parametrize("name", [MODEL, PROMPT])
def test_building_a_damaged_release_again_repairs_it(tmp_path: Path, name: str) -> None:
    """Otherwise it could be served never again: the same content always has the same folder."""
    first = _build(tmp_path)
    (first.folder / name).unlink()
    (first.folder / name).write_bytes(b"damaged")
    with pytest.raises(ReleaseError, match="Build the release again"):
        verify_release(first.folder, first.release_id)
    assert _build(tmp_path).release_id == first.release_id
    verify_release(first.folder, first.release_id)

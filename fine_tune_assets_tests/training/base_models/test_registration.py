"""Only a folder that is safe to load becomes a base model."""

import json
import shutil
from pathlib import Path

import pytest

from fine_tune_assets.core.errors import ModelFolderError
from fine_tune_assets.core.fingerprints import fingerprint_file
from fine_tune_assets.training.base_models.registration import (
    bundled_gguf,
    describe_base_model,
    import_bundled_model,
    require_model_folder,
)
from fine_tune_assets_tests.conftest import SAMPLE

MARKER = "planted"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A complete folder without real weights."""
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"]}))
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    return tmp_path


def test_a_complete_folder_is_accepted(folder: Path) -> None:
    """Control for the refusals below."""
    require_model_folder(folder)


def test_a_folder_without_weights_is_refused(folder: Path) -> None:
    """The error names what is missing before GPU time is spent."""
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelFolderError, match=r"\.safetensors"):
        require_model_folder(folder)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError, match="absent"):
        require_model_folder(tmp_path / "absent")


def test_a_model_without_licence_is_refused(folder: Path) -> None:
    """The user must not learn only after training that the weights may not be used."""
    with pytest.raises(ModelFolderError, match=r"nameless.*base_model\.licence"):
        describe_base_model("nameless", folder, licence="")


@pytest.mark.slow
def test_the_bundled_model_is_imported_once_with_its_source(smollm2: Path) -> None:
    """The recorded hash matches the file in the package, and a second import changes nothing."""
    model = describe_base_model("SmolLM2-135M-Instruct", smollm2, licence="")
    assert model.parameter_count == 134_515_008
    assert model.licence == "Apache-2.0"
    assert model.source_fingerprint == fingerprint_file(bundled_gguf())
    before = {p.name: p.stat().st_mtime_ns for p in smollm2.iterdir()}
    assert import_bundled_model(smollm2.with_name("SmolLM2-135M-Instruct")) == smollm2
    assert {p.name: p.stat().st_mtime_ns for p in smollm2.iterdir()} == before


@pytest.mark.slow
def test_a_changed_imported_model_is_imported_again(smollm2: Path, tmp_path: Path) -> None:
    """Otherwise anyone with write access could have another model trained and released as the bundled one."""
    folder = Path(shutil.copytree(smollm2, tmp_path / smollm2.name))
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert import_bundled_model(tmp_path / "SmolLM2-135M-Instruct") == folder
    assert weights.read_bytes() == whole


@pytest.mark.slow
def test_the_imported_tokenizer_matches_llama_cpp(smollm2: Path) -> None:
    """llama.cpp serves the model: with other tokens than in training, it would be another prompt."""
    from fine_tune_assets.engines.gguf_model import open_gguf
    from fine_tune_assets.engines.transformers_models import load_tokenizer

    texts = [path.read_text(encoding="utf-8") for path in sorted((SAMPLE / "raw_reports").glob("*/*.csv"))]
    texts += [path.read_text(encoding="utf-8") for path in sorted((SAMPLE / "raw_reports").glob("*/*.jsonl"))]
    texts += ["out for an MRI.\n\n2. Type 2 diabetes", "10 mg\n\n\n8 months", " \t 1,200 ml\n"]
    tokenizer = load_tokenizer(smollm2)
    assert len(texts) > 4
    with open_gguf(bundled_gguf()) as model:
        for text in texts:
            assert tokenizer(text, add_special_tokens=False)["input_ids"] == model.tokenize(text)

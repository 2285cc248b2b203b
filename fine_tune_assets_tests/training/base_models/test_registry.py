"""Only a folder that is safe to load becomes a base model."""

import json
import pickle
import shutil
import zipfile
from pathlib import Path

import pytest

from fine_tune_assets.core.errors import ModelFolderError
from fine_tune_assets.core.fingerprints import fingerprint_file
from fine_tune_assets.training.base_models.registry import (
    bundled_gguf,
    check_model_folder,
    describe_base_model,
    import_bundled_model,
)
from fine_tune_assets_tests.conftest import SAMPLE

MARKER = "planted"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that has everything but real weights."""
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"]}))
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    return tmp_path


def test_a_complete_folder_is_accepted(folder: Path) -> None:
    """The refusals below mean nothing if a good folder were refused too."""
    check_model_folder(folder)


def test_a_folder_without_weights_is_refused(folder: Path) -> None:
    """The error says what is missing before a GPU hour is spent."""
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelFolderError, match=r"no \.safetensors weights"):
        check_model_folder(folder)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError, match="There is no base model folder"):
        check_model_folder(tmp_path / "absent")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.ckpt", "innocent.dat"])
def test_a_pickle_is_refused_whatever_its_name(folder: Path, name: str) -> None:
    """Loading a pickle runs its code: it must not matter how the file is called."""
    (folder / name).write_bytes(pickle.dumps({"weights": [1, 2]}))
    with pytest.raises(ModelFolderError, match="pickle"):
        check_model_folder(folder)


def test_a_zipped_pickle_is_refused(folder: Path) -> None:
    """PyTorch's own format is a ZIP archive with a pickle inside."""
    with zipfile.ZipFile(folder / "archive.data", "w") as archive:
        archive.writestr("data.pkl", pickle.dumps(1))
    with pytest.raises(ModelFolderError, match="pickle"):
        check_model_folder(folder)


def test_a_folder_that_brings_code_is_refused(folder: Path) -> None:
    """`auto_map` would make transformers run Python files of the folder."""
    (folder / "config.json").write_text(json.dumps({"auto_map": {"AutoModel": "modeling.Evil"}}))
    with pytest.raises(ModelFolderError, match="code of its own"):
        check_model_folder(folder)


def test_a_model_without_licence_is_refused(folder: Path) -> None:
    """Nobody should find out after training that the weights may not be used."""
    with pytest.raises(ModelFolderError, match="licence"):
        describe_base_model("nameless", folder, licence="")


@pytest.mark.slow
def test_the_bundled_model_is_imported_once_with_its_source(smollm2: Path) -> None:
    """The source's hash on record is the hash of the file in the package, and a second import changes nothing."""
    model = describe_base_model("SmolLM2-135M-Instruct", smollm2, licence="")
    assert model.parameters == 134_515_008
    assert model.licence == "Apache-2.0"
    assert model.source_fingerprint == fingerprint_file(bundled_gguf())
    before = {p.name: p.stat().st_mtime_ns for p in smollm2.iterdir()}
    assert import_bundled_model(smollm2.with_name("SmolLM2-135M-Instruct")) == smollm2
    assert {p.name: p.stat().st_mtime_ns for p in smollm2.iterdir()} == before


@pytest.mark.slow
def test_an_imported_model_that_was_damaged_is_imported_again(smollm2: Path, tmp_path: Path) -> None:
    """It would pass as the bundled model otherwise: whoever can write there could have anything trained and released."""
    folder = Path(shutil.copytree(smollm2, tmp_path / smollm2.name))
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert import_bundled_model(tmp_path / "SmolLM2-135M-Instruct") == folder
    assert weights.read_bytes() == whole


@pytest.mark.slow
def test_the_imported_tokenizer_reads_as_llama_cpp_does(smollm2: Path) -> None:
    """What is served is read by llama.cpp: a text that the trainer cuts in other tokens is another question there."""
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

"""Files that could run code are refused under any name; a valid folder is accepted."""

import json
import os
import pickle
import re
import struct
from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.errors import ModelFolderError
from fine_tune_assets.training.base_models.model_files import INDEX_FILE, model_files
from fine_tune_assets.training.base_models.registration import require_model_folder
from fine_tune_assets_tests.training.base_models.small_model import (
    CONFIG,
    WEIGHTS,
    safetensors,
    write_json,
    write_small_model,
)

PICKLE = pickle.dumps(print)
OTHERS = (
    "pytorch_model.bin",
    "model-2.safetensors",
    "extra.json",
    "modeling_evil.py",
    "innocent.dat",
    "below/notes",
    "adapter_config.json",
)
LISTED = ("vocab.json", "LICENSE", "merges.txt", "README.md", "chat_template.jinja", "generation_config.json")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_small_model(tmp_path / "model")


def plant(path: Path, content: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)


def test_a_valid_folder_is_accepted(folder: Path) -> None:
    """Control for the refusals below."""
    assert model_files(folder) == (sorted(p.name for p in folder.iterdir()), [])
    require_model_folder(folder)


@pytest.mark.parametrize("name", OTHERS)
def test_a_file_that_no_model_needs_is_refused_by_name(folder: Path, name: str) -> None:
    """A library could load it and run its code. The error names the command that copies the other files."""
    plant(folder / name, PICKLE)
    assert model_files(folder)[1] == [Path(name).parts[0]]
    with pytest.raises(ModelFolderError, match=rf"{re.escape(Path(name).parts[0])}\. .*`fine-tune models import .*`"):
        require_model_folder(folder)


@pytest.mark.parametrize("name", LISTED)
def test_a_pickle_under_a_model_file_name_is_refused(folder: Path, name: str) -> None:
    """No reader would run it, but it is not a valid file."""
    plant(folder / name, PICKLE)
    with pytest.raises(ModelFolderError, match=re.escape(name)):
        require_model_folder(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "README.md"])
def test_a_pickle_after_a_valid_file_is_refused(folder: Path, name: str) -> None:
    """A valid beginning is a common disguise."""
    path = folder / name
    path.write_bytes(path.read_bytes() + b"\n" + PICKLE)
    with pytest.raises(ModelFolderError, match=re.escape(name)):
        require_model_folder(folder)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("config.json", {"auto_map": {"AutoModel": "modeling.Evil"}}),
        ("config.json", {"text_config": {"auto_map": {"AutoModel": "modeling.Evil"}}}),
        ("config.json", {"attn_implementation": "somebody/kernels"}),
        ("config.json", {"_attn_implementation": {"text_config": "somebody/kernels"}}),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["tok.Evil", None]}}),
        ("generation_config.json", {"custom_generate": "somebody/generate"}),
        ("preprocessor_config.json", {"auto_map": {"AutoProcessor": "p.Evil"}}),
    ],
)
def test_a_folder_that_requests_custom_code_is_refused(folder: Path, name: str, change: dict[str, Any]) -> None:
    """In any file: transformers would run Python from the folder, or download a kernel from a hub."""
    path = folder / name
    before = json.loads(path.read_text()) if path.is_file() else {}
    write_json(path, {**before, **change})
    with pytest.raises(ModelFolderError, match=rf"{re.escape(name)} .*auto_map"):
        require_model_folder(folder)


def test_a_duplicate_key_does_not_hide_custom_code(folder: Path) -> None:
    """Readers differ in which of two equal keys they use."""
    (folder / "config.json").write_text('{"auto_map": {"AutoModel": "m.Evil"}, "auto_map": null}')
    with pytest.raises(ModelFolderError, match="auto_map"):
        require_model_folder(folder)


def test_a_token_may_equal_a_forbidden_key(folder: Path) -> None:
    """Vocabularies contain any word."""
    write_json(folder / "vocab.json", {"auto_map": 1})
    require_model_folder(folder)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x02",
        safetensors(WEIGHTS)[:-1],
        safetensors(WEIGHTS) + b"\0",
        safetensors(WEIGHTS, **{"lm_head.weight": {"dtype": "BF16", "shape": [4, 2], "data_offsets": [8, 24]}}),
        safetensors(WEIGHTS, **{"lm_head.weight": {"dtype": "BF16", "shape": [4, 3], "data_offsets": [16, 32]}}),
        safetensors(WEIGHTS, **{"lm_head.weight": {"dtype": "NEW", "shape": [4, 2], "data_offsets": [16, 32]}}),
        safetensors(WEIGHTS, **{"lm_head.weight": {"dtype": "BF16", "shape": [-4, -2], "data_offsets": [16, 32]}}),
        safetensors(WEIGHTS, __metadata__={"format": 1}),
        struct.pack("<Q", 1 << 40) + b"{}",
        struct.pack("<Q", 5) + b"[1,2]",
        b"\x08\0\0\0\0\0\0\0" + b'{"a":1,}',
    ],
)
def test_safetensors_must_account_for_every_byte(folder: Path, content: bytes) -> None:
    """Data could hide in a gap, an overlap or a tail; a truncated file would fail during a training."""
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelFolderError, match=r"model\.safetensors"):
        require_model_folder(folder)


def test_a_git_lfs_pointer_is_reported_as_such(folder: Path) -> None:
    """A common mistake: a clone without its large files."""
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(ModelFolderError, match="Git LFS"):
        require_model_folder(folder)


@pytest.mark.parametrize("text", ["{", "{} {}", "not json", "[" * 100_000])
def test_invalid_json_is_refused(folder: Path, text: str) -> None:
    """Another kind of file must not pass under this name."""
    (folder / "generation_config.json").write_text(text)
    with pytest.raises(ModelFolderError, match=r"generation_config\.json"):
        require_model_folder(folder)


@pytest.mark.parametrize(
    "weight_map",
    [
        {"a": "../other.safetensors"},
        {"a": "/etc/passwd"},
        {"a": "absent.safetensors"},
        {"a": "config.json"},
        {"a": "model.safetensors"},
        {},
    ],
)
def test_an_index_that_does_not_match_the_files_is_refused(folder: Path, weight_map: dict[str, str]) -> None:
    """Loaders open any file in the index, and initialize tensors that it omits at random."""
    write_json(folder / INDEX_FILE, {"weight_map": weight_map})
    with pytest.raises(ModelFolderError):
        require_model_folder(folder)


def test_a_correct_index_is_accepted(folder: Path) -> None:
    """Large models are split into several files."""
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    write_json(folder / INDEX_FILE, {"weight_map": dict.fromkeys(WEIGHTS, "model-00001-of-00001.safetensors")})
    require_model_folder(folder)


def test_an_adapter_is_refused(folder: Path) -> None:
    """transformers would load the base model that it names, from any path."""
    write_json(folder / "adapter_config.json", {"base_model_name_or_path": "/somewhere/else"})
    with pytest.raises(ModelFolderError, match=r"adapter_config\.json"):
        require_model_folder(folder)


def test_a_link_outside_the_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    """It would copy any file of this machine into the model."""
    write_json(tmp_path / "secret.json", CONFIG)
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to(tmp_path / "secret.json")
    with pytest.raises(ModelFolderError, match=r"config\.json"):
        require_model_folder(folder)


def test_links_of_a_hub_cache_are_followed(tmp_path: Path) -> None:
    """Models downloaded by Hugging Face tools consist of links from a snapshot to blobs."""
    cache = tmp_path / "models--someone--small"
    blobs, snapshot = write_small_model(cache / "blobs"), cache / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    for blob in blobs.iterdir():
        (snapshot / blob.name).symlink_to(os.path.relpath(blob, snapshot))
    require_model_folder(snapshot)


def test_another_kind_of_vocabulary_is_skipped(folder: Path) -> None:
    """The GGUF converter prefers `tokenizer.model` to `tokenizer.json`, but supports only SentencePiece."""
    piece = b"\x0a\x03abc\x15\x00\x00\x80\xbf\x18\x01"
    plant(folder / "tokenizer.model", b"\x0a" + bytes([len(piece)]) + piece)
    assert "tokenizer.model" in model_files(folder)[0]
    plant(folder / "tokenizer.model", b"IQ== 0\nIg== 1\n")
    assert "tokenizer.model" in model_files(folder)[1]


def test_a_file_name_cannot_send_control_characters_to_the_terminal(folder: Path) -> None:
    """The author of the folder chooses the names in an error."""
    plant(folder / "\x1b[2Jevil.py", b"")
    with pytest.raises(ModelFolderError) as refused:
        require_model_folder(folder)
    assert "\x1b" not in str(refused.value)

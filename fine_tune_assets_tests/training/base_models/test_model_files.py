"""Nothing that runs code comes in, whatever it is called; and a sound folder does."""

import json
import os
import pickle
import re
import struct
from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.errors import ModelFolderError
from fine_tune_assets.training.base_models.model_files import INDEX, model_files
from fine_tune_assets.training.base_models.registry import check_model_folder
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


def test_a_sound_folder_is_taken_whole(folder: Path) -> None:
    """The refusals below mean nothing if a good folder were refused too."""
    assert model_files(folder) == (sorted(p.name for p in folder.iterdir()), [])
    check_model_folder(folder)


@pytest.mark.parametrize("name", OTHERS)
def test_what_no_model_needs_is_refused_by_name(folder: Path, name: str) -> None:
    """A library that finds it may load it, and run what is in it. The error names the command that copies the rest."""
    plant(folder / name, PICKLE)
    assert model_files(folder)[1] == [Path(name).parts[0]]
    with pytest.raises(
        ModelFolderError, match=rf"{re.escape(Path(name).parts[0])}\. `fine-tune import-model .*` copies"
    ):
        check_model_folder(folder)


@pytest.mark.parametrize("name", LISTED)
def test_a_pickle_under_the_name_of_a_model_s_file_is_refused(folder: Path, name: str) -> None:
    """None of the readers would run it, but it is no such file."""
    plant(folder / name, PICKLE)
    with pytest.raises(ModelFolderError, match=re.escape(name)):
        check_model_folder(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "README.md"])
def test_a_pickle_after_a_valid_file_is_refused(folder: Path, name: str) -> None:
    """A valid beginning is the usual disguise."""
    path = folder / name
    path.write_bytes(path.read_bytes() + b"\n" + PICKLE)
    with pytest.raises(ModelFolderError, match=re.escape(name)):
        check_model_folder(folder)


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
def test_a_folder_that_asks_for_code_of_its_own_is_refused(folder: Path, name: str, change: dict[str, Any]) -> None:
    """In any file: transformers would run Python of the folder, or fetch a kernel from a hub."""
    path = folder / name
    before = json.loads(path.read_text()) if path.is_file() else {}
    write_json(path, {**before, **change})
    with pytest.raises(ModelFolderError, match="code of its own"):
        check_model_folder(folder)


def test_a_second_key_does_not_hide_the_first(folder: Path) -> None:
    """Readers differ in which of two equal keys they take."""
    (folder / "config.json").write_text('{"auto_map": {"AutoModel": "m.Evil"}, "auto_map": null}')
    with pytest.raises(ModelFolderError, match="code of its own"):
        check_model_folder(folder)


def test_a_token_may_be_called_like_a_key(folder: Path) -> None:
    """Vocabularies hold every word."""
    write_json(folder / "vocab.json", {"auto_map": 1})
    check_model_folder(folder)


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
    """A gap, an overlap or a tail is where something else hides; a file cut off would fail in the middle of a training."""
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelFolderError, match=r"model\.safetensors"):
        check_model_folder(folder)


def test_a_pointer_of_git_lfs_is_named_as_such(folder: Path) -> None:
    """The usual mistake of a clone without its large files."""
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(ModelFolderError, match="pointer of Git LFS"):
        check_model_folder(folder)


@pytest.mark.parametrize("text", ["{", "{} {}", "not json", "[" * 100_000])
def test_json_must_be_json(folder: Path, text: str) -> None:
    """What isn't is something else under that name."""
    (folder / "generation_config.json").write_text(text)
    with pytest.raises(ModelFolderError, match=r"generation_config\.json \(no JSON\)"):
        check_model_folder(folder)


@pytest.mark.parametrize(
    "placed",
    [
        {"a": "../other.safetensors"},
        {"a": "/etc/passwd"},
        {"a": "absent.safetensors"},
        {"a": "config.json"},
        {"a": "model.safetensors"},
        {},
    ],
)
def test_an_index_names_the_files_and_tensors_that_are_there(folder: Path, placed: dict[str, str]) -> None:
    """A loader follows the index wherever it leads, and leaves at random what it doesn't name."""
    write_json(folder / INDEX, {"weight_map": placed})
    with pytest.raises(ModelFolderError):
        check_model_folder(folder)


def test_an_index_that_is_right_is_taken(folder: Path) -> None:
    """Large models come in several files."""
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    write_json(folder / INDEX, {"weight_map": dict.fromkeys(WEIGHTS, "model-00001-of-00001.safetensors")})
    check_model_folder(folder)


def test_an_adapter_is_refused(folder: Path) -> None:
    """transformers would follow it to the base model that it names, wherever that lies."""
    write_json(folder / "adapter_config.json", {"base_model_name_or_path": "/somewhere/else"})
    with pytest.raises(ModelFolderError, match=r"adapter_config\.json"):
        check_model_folder(folder)


def test_a_link_to_somewhere_else_is_refused(folder: Path, tmp_path: Path) -> None:
    """The content of any file of this machine would be copied into a model."""
    write_json(tmp_path / "secret.json", CONFIG)
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to(tmp_path / "secret.json")
    with pytest.raises(ModelFolderError, match="link to somewhere else"):
        check_model_folder(folder)


def test_the_links_of_a_hub_cache_are_followed(tmp_path: Path) -> None:
    """Whoever downloaded a model elsewhere has it in this form: links from a snapshot to blobs beside it."""
    cache = tmp_path / "models--someone--small"
    blobs, snapshot = write_small_model(cache / "blobs"), cache / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    for blob in blobs.iterdir():
        (snapshot / blob.name).symlink_to(os.path.relpath(blob, snapshot))
    check_model_folder(snapshot)


def test_a_vocabulary_of_another_kind_is_left_out(folder: Path) -> None:
    """The GGUF converter reads `tokenizer.model` before `tokenizer.json`, and knows SentencePiece only."""
    piece = b"\x0a\x03abc\x15\x00\x00\x80\xbf\x18\x01"
    plant(folder / "tokenizer.model", b"\x0a" + bytes([len(piece)]) + piece)
    assert "tokenizer.model" in model_files(folder)[0]
    plant(folder / "tokenizer.model", b"IQ== 0\nIg== 1\n")
    assert "tokenizer.model" in model_files(folder)[1]


def test_a_name_can_not_write_over_the_terminal(folder: Path) -> None:
    """The names in an error are chosen by whoever made the folder."""
    plant(folder / "\x1b[2Jevil.py", b"")
    with pytest.raises(ModelFolderError) as refused:
        check_model_folder(folder)
    assert "\x1b" not in str(refused.value)

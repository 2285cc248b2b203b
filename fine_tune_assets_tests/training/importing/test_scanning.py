"""Nothing that runs code comes in, whatever it is called; and a sound folder does."""

import json
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.errors import ModelFolderError
from fine_tune_assets.training.base_models import check_model_folder
from fine_tune_assets.training.importing.pickles import holds_pickle, is_pickle
from fine_tune_assets.training.importing.safetensors_files import read_tensors
from fine_tune_assets.training.importing.scanning import INDEX, scan_folder
from fine_tune_assets_tests.training.importing.planted import PICKLES, safetensors_and_pickle
from fine_tune_assets_tests.training.importing.small_model import (
    CONFIG,
    WEIGHTS,
    safetensors,
    write_json,
    write_small_model,
)

NAMES = ("pytorch_model.bin", "weights.dat", "model-2.safetensors", "vocab.json", "extra.json", "LICENSE", "merges.txt",
         "tokenizer.model", "README.md", "picture.png", "below/notes")  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_small_model(tmp_path / "model")


def plant(path: Path, content: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)


def test_a_sound_folder_is_taken_whole(folder: Path) -> None:
    """The refusals below mean nothing if a good folder were refused too."""
    scan = scan_folder(folder)
    assert scan.refused == {}
    assert {str(p) for p in scan.kept} == {p.name for p in folder.iterdir()}
    check_model_folder(folder)


@pytest.mark.parametrize("kind", PICKLES)
@pytest.mark.parametrize("name", NAMES)
def test_a_planted_pickle_is_refused_under_any_name(folder: Path, name: str, kind: str) -> None:
    """Loading it would run its code: neither the name nor the way it was written may hide it."""
    plant(folder / name, PICKLES[kind])
    assert str(Path(name)) in {str(path) for path in scan_folder(folder).refused}
    with pytest.raises(ModelFolderError, match="is refused for"):
        check_model_folder(folder)


@pytest.mark.parametrize(
    "name", ["model.safetensors", "config.json", "tokenizer.json", "README.md", "chat_template.jinja"]
)
@pytest.mark.parametrize("kind", ["protocol 0", "protocol 4", "torch.save (ZIP)", "tar, as NeMo"])
def test_a_pickle_after_a_valid_file_is_refused(folder: Path, name: str, kind: str) -> None:
    """A valid beginning is the usual disguise."""
    path = folder / name
    path.write_bytes(path.read_bytes() + b"\n" + PICKLES[kind])
    assert Path(name) in scan_folder(folder).refused


def test_safetensors_that_are_a_pickle_as_well_are_refused(folder: Path) -> None:
    """A file can be valid in both formats, and which one is read is up to who reads it."""
    path = folder / "model.safetensors"
    path.write_bytes(safetensors_and_pickle())
    assert read_tensors(path)["w"].shape == (60,)
    assert "as well" in scan_folder(folder).refused[Path("model.safetensors")]
    zipped = PICKLES["torch.save (ZIP)"]
    header = json.dumps({"w": {"dtype": "U8", "shape": [len(zipped)], "data_offsets": [0, len(zipped)]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + zipped)
    assert "as well" in scan_folder(folder).refused[Path("model.safetensors")]


@pytest.mark.parametrize(
    "text",
    [
        "curl https://example.org\nRun it.\n",
        "class Model\nname\nR.",
        "code of conduct\nI agree.\nR\n",
        "0.5\n1.5\n2.",
        "import this\nRead me.\n",
        "(see below)\nIt is. Really.\n",
        "Version 1.0.\nNothing else.\n" * 200,
    ],
)
def test_ordinary_text_is_no_pickle(tmp_path: Path, text: str) -> None:
    """Many letters are opcodes: a false alarm would keep good models out."""
    path = tmp_path / "text"
    path.write_text(text)
    assert not is_pickle(path)
    assert not holds_pickle(path)


def test_random_bytes_are_no_pickle(tmp_path: Path) -> None:
    """Pictures and other binary files beside a model are left out, not accused."""
    import numpy as np

    path = tmp_path / "bytes"
    path.write_bytes(np.random.default_rng(0).bytes(4_000_000))
    assert not holds_pickle(path)


def test_texts_and_other_bytes_are_not_taken_for_compressed_data(folder: Path) -> None:
    """Every header of zlib is two letters of some text, and random bytes have it too: a false alarm keeps a good model out."""
    import numpy as np

    words = "the model was trained on notes of visits, and nothing else is known of it"
    for number, start in enumerate(("x y", "HK", "hC", "8O", "(S", "XG", "]")):
        plant(folder / f"notes-{number}", f"{start} {words}\n".encode())
    drawn = np.random.default_rng(0)
    for number in range(300):
        first = b"]\0\0" if number % 3 == 0 else b"x}" if number % 3 == 1 else b""
        plant(folder / f"bytes-{number}", first + drawn.bytes(4000))
    plant(folder / "zeros", bytes(4000))
    assert {str(path): why for path, why in scan_folder(folder).refused.items() if "compressed" in why} == {}


def test_nothing_planted_ever_ran(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking into a pickle must not load it."""
    monkeypatch.chdir(tmp_path)
    for number, content in enumerate(PICKLES.values()):
        plant(folder / f"planted-{number}.bin", content)
    assert len(scan_folder(folder).refused) == len(PICKLES)
    assert not (tmp_path / "planted").exists()


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
        ("below/config.json", {"auto_map": {"AutoModel": "modeling.Evil"}}),
        ("anything.json", {"trust_remote_code": True}),
    ],
)
def test_a_folder_that_asks_for_code_of_its_own_is_refused(folder: Path, name: str, change: dict[str, Any]) -> None:
    """In any file, at any depth: transformers would run Python of the folder, or fetch a kernel from a hub."""
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    before = json.loads(path.read_text()) if path.is_file() else {}
    write_json(path, {**before, **change})
    with pytest.raises(ModelFolderError, match="code of its own"):
        check_model_folder(folder)


def test_a_second_key_does_not_hide_the_first(folder: Path) -> None:
    """Readers differ in which of two equal keys they take."""
    (folder / "config.json").write_text('{"auto_map": {"AutoModel": "m.Evil"}, "auto_map": null}')
    assert Path("config.json") in scan_folder(folder).refused


def test_a_token_may_be_called_like_a_key(folder: Path) -> None:
    """Vocabularies hold every word."""
    write_json(folder / "vocab.json", {"auto_map": 1})
    assert scan_folder(folder).refused == {}


@pytest.mark.parametrize("name", ["modeling_evil.py", "below/setup.PY", "lib.so", "run.sh"])
def test_code_is_refused(folder: Path, name: str) -> None:
    """Even if nothing names it now."""
    plant(folder / name, b"print(1)")
    assert scan_folder(folder).refused[Path(name)] == "code"


@pytest.mark.parametrize("content", [b"\x7fELF\x02\x01", b"MZ\x90\0", b"#!/bin/sh\n"])
def test_a_program_is_refused_under_any_name(folder: Path, content: bytes) -> None:
    """A program has no place beside weights."""
    for name in ("picture.png", "LICENSE"):
        plant(folder / name, content)
        assert scan_folder(folder).refused[Path(name)] == "a program"


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


def test_real_safetensors_are_read_as_the_library_reads_them(tmp_path: Path) -> None:
    """Our reader is stricter than the library's, and says the same otherwise."""
    import numpy as np
    from safetensors.numpy import save_file

    arrays = {
        "a": np.zeros((3, 5), np.float32),
        "b": np.ones(7, np.float16),
        "c": np.array(1, np.int64),
        "d": np.zeros((0, 4)),
    }
    save_file(arrays, tmp_path / "x.safetensors", metadata={"format": "pt"})
    assert {n: t.shape for n, t in read_tensors(tmp_path / "x.safetensors").items()} == {
        n: a.shape for n, a in arrays.items()
    }


@pytest.mark.parametrize("text", ["{", "{} {}", "not json", "[" * 100_000])
def test_json_must_be_json(folder: Path, text: str) -> None:
    """What isn't is something else under that name."""
    (folder / "generation_config.json").write_text(text)
    assert Path("generation_config.json") in scan_folder(folder).refused


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
    with pytest.raises(ModelFolderError, match="part of an adapter"):
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


def test_what_is_harmless_and_not_needed_is_left_out(folder: Path) -> None:
    """Pictures, other formats and notes come with many models."""
    plant(folder / "picture.png", b"\x89PNG\r\n\x1a\n" + bytes(50))
    plant(folder / "runs/events", b"\x18\0\0\0")
    plant(folder / "consolidated.safetensors", safetensors(WEIGHTS))
    plant(folder / "tokenizer.model", b"IQ== 0\nIg== 1\n")
    scan = scan_folder(folder)
    assert scan.refused == {}
    assert {str(p) for p in scan.left_out} == {
        "picture.png",
        "runs/events",
        "consolidated.safetensors",
        "tokenizer.model",
    }


def test_a_sentencepiece_model_is_kept_and_a_changed_one_is_not(folder: Path) -> None:
    """The GGUF converter reads it before tokenizer.json."""
    piece = b"\x0a\x03abc\x15\x00\x00\x80\xbf\x18\x01"
    model = (b"\x0a" + bytes([len(piece)]) + piece) * 3 + b"\x12\x02\x18\x01"
    plant(folder / "tokenizer.model", model)
    assert Path("tokenizer.model") in scan_folder(folder).kept
    plant(folder / "tokenizer.model", model + pickle.dumps(1))
    assert Path("tokenizer.model") not in scan_folder(folder).kept


def test_a_name_can_not_write_over_the_terminal(folder: Path) -> None:
    """The names in an error are chosen by whoever made the folder."""
    plant(folder / "\x1b[2Jevil.py", b"")
    with pytest.raises(ModelFolderError) as refused:
        check_model_folder(folder)
    assert "\x1b" not in str(refused.value)
